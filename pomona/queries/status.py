"""Status and quarantine of a lake as plain dictionaries, read without Spark."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pomona.queries.session import (
    JsonObject,
    format_timestamp,
    jsonable,
    open_lake,
    translate_read_errors,
    version_json,
)
from streaming.delta.log import Version
from streaming.delta.reader import (
    open_table,
    open_tables,
    query_rows,
    quote_literal,
)
from streaming.delta.row_counts import count_changes
from streaming.delta.tables import is_table
from streaming.delta.throughput import images_of_commit, images_per_second
from streaming.errors import UsageError
from streaming.lake.history import last_batch, same_rows
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion, resolve_version, superseded_at, version_at
from streaming.lease.acquire import lease_owner
from streaming.outcomes import Reason
from streaming.storage.interface import join_name

if TYPE_CHECKING:
    from deltalake import DeltaTable

_COUNTS = "count(*) AS rows, count(DISTINCT label) AS labels, max(model_id) AS model_id"


def status(location: str, as_of: str | ResolvedVersion | None = None) -> JsonObject:
    """Return the status of a lake, now or at a version.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    as_of : str or ResolvedVersion, optional
        Version of the features, see `streaming.lake.versions.resolve_version`.

    Returns
    -------
    dict
        ``lake``, ``as_of`` (None for now), ``writer`` (``host``, ``pid`` and ``since`` of the process that writes the
        lake; None if there is none, or with `as_of`), ``source`` (of the last batch), ``sources`` (each source of the
        lake, see `pomona.queries.backlog.read_backlogs`; None with `as_of`), ``rows``, ``labels``, ``model_id``,
        ``quarantine`` (images by reason), ``backlog`` (missing and changed images of all sources that can be listed;
        None if there is none, or with `as_of`), ``last_batch``, ``last_refit``.
    """
    from pomona.queries.backlog import read_backlogs  # imports pandas and Pillow: half a second

    lake = open_lake(location)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of) if as_of is not None else None
        features, quarantined = _open_tables_at(lake, pinned)
        counts = query_rows(features, _COUNTS)[0]
        by_reason = "reason, count(*) AS images", "GROUP BY reason"
        reasons = query_rows(quarantined, *by_reason) if quarantined else []
        versions = table_versions(lake, features, quarantined)
        last = last_batch(versions)
        sources = None if pinned else read_backlogs(lake, last, versions)
        backlogs = [s["backlog"] for s in sources or () if s["backlog"] is not None]
        return {
            "lake": lake.root,
            "as_of": pinned and version_json(pinned),
            "writer": None if pinned else _writer(lake),
            "source": last.metadata["source"] if last else None,
            "sources": sources,
            "rows": counts["rows"],
            "labels": counts["labels"],
            "model_id": counts["model_id"],
            "quarantine": {row["reason"]: row["images"] for row in reasons},
            "backlog": sum(backlogs) if backlogs else None,
            "last_batch": last
            and {
                "at": format_timestamp(last.committed),
                "seconds_ago": round((datetime.now(UTC) - last.committed).total_seconds()),
                "images": last.metadata.get("images", 0),
                "quarantined": last.metadata.get("quarantined", 0),
                "seconds": last.seconds,
                "images_per_second": images_per_second(
                    images_of_commit(last.metadata), last.seconds
                ),
                "engine": last.metadata.get("engine"),
            },
            "last_refit": _last_refit(lake, features, counts["rows"], pinned),
        }


def _writer(lake: Lake) -> JsonObject | None:
    """Return the process that owns the lease of a lake; None if there is none."""
    holder = lease_owner(lake)
    return {"host": holder.host, "pid": holder.pid, "since": holder.since} if holder else None


def _open_tables_at(
    lake: Lake, pinned: ResolvedVersion | None
) -> tuple[DeltaTable, DeltaTable | None]:
    """Open features and quarantine, now or at a version; None if quarantine had no version yet."""
    if pinned is None:
        features, quarantine_table = open_tables(lake.features, lake.quarantine)
        return features, quarantine_table
    version = version_at(lake.quarantine, pinned)
    quarantined = None if version is None else open_table(lake.quarantine, version)
    return open_table(lake.features, pinned.number), quarantined


def check_reason(reason: str | None) -> None:
    """Raise UsageError if a reason is not one of the closed set; None selects all reasons."""
    if reason is not None and reason not in set(Reason):
        raise UsageError(f"--reason {reason}: choose one of {', '.join(Reason)}")


def quarantine(
    location: str, reason: str | None = None, as_of: str | ResolvedVersion | None = None
) -> list[JsonObject]:
    """Return the images in quarantine.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    reason : str, optional
        Select only images with this reason.
    as_of : str or ResolvedVersion, optional
        Version of the features; returns the images that were in quarantine at that version.

    Returns
    -------
    list of dict
        All columns of the table, sorted by reason and path; timestamps in ISO 8601.

    Raises
    ------
    UsageError
        If the reason is unknown.
    """
    check_reason(reason)
    lake = open_lake(location)
    with translate_read_errors():
        condition = f"WHERE reason = {quote_literal(reason)} " if reason else ""
        version = None
        if as_of is not None:
            version = version_at(lake.quarantine, resolve_version(lake, as_of))
            if version is None:
                return []
        rows = query_rows(
            open_table(lake.quarantine, version), "*", f"{condition}ORDER BY reason, path"
        )
    return [jsonable(row) for row in rows]


def _query_refits(lake: Lake, columns: str, clauses: str) -> list[JsonObject]:
    return query_rows(open_table(lake.refits), columns, clauses) if is_table(lake.refits) else []


def last_batch_of(
    lake: Lake, features: DeltaTable, quarantined: DeltaTable | None
) -> Version | None:
    """Return the latest commit that processed images, up to the opened versions; None if there is none."""
    return last_batch(table_versions(lake, features, quarantined))


def table_versions(
    lake: Lake, features: DeltaTable, quarantined: DeltaTable | None
) -> dict[str, int]:
    """Return the opened versions of features and quarantine, by location."""
    tables = {lake.features: features, lake.quarantine: quarantined}
    return {location: table.version() for location, table in tables.items() if table}


def _last_refit(
    lake: Lake, features: DeltaTable, rows: int, pinned: ResolvedVersion | None
) -> JsonObject | None:
    columns = "refit_id, created_at, features_version, components, explained_variance_ratio, rows"
    limit = "" if pinned else " LIMIT 1"
    refits = _query_refits(lake, columns, f"ORDER BY created_at DESC{limit}")
    if pinned:
        until = superseded_at(lake, pinned)
        refits = [refit for refit in refits if refit["created_at"] <= until]
    if not refits:
        return None
    last = refits[0]
    stale = not same_rows(lake, last["features_version"], features.version())
    changes = (
        count_changes(lake.features, last["features_version"], features.version())
        if stale
        else None
    )
    # Without counts, the rows that were replaced are unknown, and those that were added and removed again.
    added, replaced, removed = changes or (
        max(rows - last["rows"], 0),
        None if stale else 0,
        max(last["rows"] - rows, 0),
    )
    return {
        "refit_id": last["refit_id"],
        "at": format_timestamp(last["created_at"]),
        "features_version": last["features_version"],
        "components": last["components"],
        "explained_variance": round(sum(last["explained_variance_ratio"]), 6),
        "rows": last["rows"],
        "new_rows_since": added,
        "replaced_rows_since": replaced,
        "removed_rows_since": removed,
        "stale": stale,
        "folder": join_name(lake.reduced, last["refit_id"], "refit"),
    }
