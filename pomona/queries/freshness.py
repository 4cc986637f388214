"""Freshness of a lake: times of the last row, micro-batch and refit, read only from the transaction logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pomona.output.durations import format_age, parse_duration
from pomona.queries.session import JsonObject, format_timestamp, open_lake, translate_read_errors
from pomona.queries.status import last_batch_of
from streaming.delta.log import read_commits_backwards
from streaming.delta.reader import open_tables, query_rows
from streaming.delta.tables import is_table
from streaming.errors import UsageError

if TYPE_CHECKING:
    from deltalake import DeltaTable

_NEWEST = "max.ingested_at"


def read_freshness(location: str) -> JsonObject:
    """Return the times of the last row, micro-batch and refit of a lake.

    Data files are not opened: a long-running stream has many, and on S3 each costs a request.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.

    Returns
    -------
    dict
        ``lake``, ``created``, ``rows``, ``last_row``, ``last_batch`` (the last commit of images to features or
        quarantine) and ``last_refit``. Times are ISO 8601 in UTC; None if there was no such event yet.
    """
    lake = open_lake(location)
    with translate_read_errors():
        locations = [lake.features, lake.quarantine]
        if is_table(lake.refits):
            locations.append(lake.refits)
        features, quarantined, *refits = open_tables(*locations)
        rows, newest = _row_count_and_newest(features)
        batch = last_batch_of(lake, features, quarantined)
        last_refit = None
        for table in refits:
            commits = read_commits_backwards(lake.refits, table.version())
            # An upgrade of the lake may have copied the rows.
            refits_only = (c for c in commits if c.added and "upgrade" not in c.metadata)
            last_refit = next(refits_only, None)
        return {
            "lake": lake.root,
            "created": format_timestamp(
                datetime.fromtimestamp((features.metadata().created_time or 0) / 1000, UTC)
            ),
            "rows": rows,
            "last_row": newest and format_timestamp(newest),
            "last_batch": batch and format_timestamp(batch.committed),
            "last_refit": last_refit and format_timestamp(last_refit.committed),
        }


def _row_count_and_newest(features: DeltaTable) -> tuple[int, datetime | None]:
    """Return the number of rows and the newest ``ingested_at``, from the file statistics in the log if possible."""
    files: Any = features.get_add_actions(flatten=True)
    if not files.num_rows:
        return 0, None
    if {"num_records", _NEWEST} <= set(files.schema.names):
        counts, newest = files.column("num_records").to_pylist(), files.column(_NEWEST).to_pylist()
        if None not in counts and None not in newest:
            return sum(counts), max(newest)
    # Another program wrote files without statistics.
    row = query_rows(features, "count(*) AS rows, max(ingested_at) AS newest")[0]
    return row["rows"], row["newest"]


#: Events whose age `--max-age` limits: newest row of features, last micro-batch that wrote rows, last refit.
MONITORED_EVENTS = ("row", "batch", "refit")
_OPTION = "--max-age"


def parse_max_ages(texts: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Parse the values of `--max-age` to the limit of each event, as typed and in seconds.

    Parameters
    ----------
    texts : sequence of str
        ``10m`` limits all of `MONITORED_EVENTS`, ``refit=25h`` one of them; later values override earlier ones.

    Raises
    ------
    UsageError
        If an event or a duration is invalid.
    """
    limits: dict[str, tuple[str, float]] = {}
    for text in texts:
        name, _, duration = text.rpartition("=")
        if name and name not in MONITORED_EVENTS:
            raise UsageError(
                f"{_OPTION} {text}: choose one of {', '.join(MONITORED_EVENTS)} before ="
            )
        limit = (duration, parse_duration(duration, _OPTION))
        limits |= {name: limit} if name else dict.fromkeys(MONITORED_EVENTS, limit)
    return limits


def find_overdue(
    freshness: Mapping[str, Any],
    limits: Mapping[str, tuple[str, float]],
    now: datetime | None = None,
) -> list[dict[str, Any]]:
    """Return the events whose age exceeds the limit.

    Parameters
    ----------
    freshness : mapping
        Result of `read_freshness`.
    limits : mapping
        Result of `parse_max_ages`.
    now : datetime, optional
        Current time; for tests.

    Returns
    -------
    list of dict
        ``event`` (of `MONITORED_EVENTS`), ``at`` (ISO 8601; None before the first event: the age of the lake is used),
        ``seconds_ago``, ``limit_seconds`` and ``message``.
    """
    overdue = []
    for event, (typed, limit) in limits.items():
        at = freshness[f"last_{event}"]
        since = datetime.fromisoformat(at or freshness["created"])
        seconds = ((now or datetime.now(UTC)) - since).total_seconds()
        if seconds > limit:
            age = format_age(seconds)
            found = (
                f"the last {event} was at {at} ({age})"
                if at
                else f"no {event} yet in a lake created {age}"
            )
            overdue.append(
                {
                    "event": event,
                    "at": at,
                    "seconds_ago": round(seconds),
                    "limit_seconds": limit,
                    "message": f"{found}, limit {typed}",
                }
            )
    return overdue
