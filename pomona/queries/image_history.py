"""The history of one image, and a lake at a version; read from the tables without Spark."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from pomona.queries.history import refits_and_tags_by_version
from pomona.queries.session import (
    JsonObject,
    jsonable,
    open_lake,
    translate_read_errors,
    version_json,
)
from streaming.delta.reader import (
    batch_to_rows,
    open_table,
    query_rows,
    quote_literal,
    read_change_feed,
    table_read_errors,
)
from streaming.delta.time_travel import commit_times, oldest_complete_version
from streaming.errors import LakeError, SnapshotError
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion, resolve_version, version_at
from streaming.storage.interface import normalize

if TYPE_CHECKING:
    from batch_pca.refits.catalog import RefitRow

_OF_A_VERSION = ["content_hash", "length", "modification_time", "ingested_at", "model_id"]
_COMES = ("insert", "update_postimage")


def describe_version(location: str, as_of: str | None = None) -> JsonObject:
    """What a lake held.

    Returns
    -------
    dict
        ``as_of`` (``version``, ``committed``, ``resolved``), ``rows``, ``model_id``, ``labels`` (rows by label),
        ``refits`` (ids of those made of this version), ``tags``.
    """
    lake = open_lake(location)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of)
        features = open_table(lake.features, pinned.number)
        counts = "label, count(*) AS rows, max(model_id) AS model_id"
        found = query_rows(features, counts, "GROUP BY label ORDER BY label")
        names = refits_and_tags_by_version(lake)
    return {
        "as_of": version_json(pinned),
        "rows": sum(row["rows"] for row in found),
        "model_id": max((row["model_id"] for row in found), default=None),
        "labels": {row["label"]: row["rows"] for row in found},
        **{kind: of.get(pinned.number, []) for kind, of in names.items()},
    }


def describe_image(location: str, path: str, as_of: str | None = None) -> JsonObject:
    """One image: its row, its place on the components, its versions, the refits that it is in.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    path : str
        As the tables name it, or as a person types it.
    as_of : str, optional
        The row is that of this version.

    Returns
    -------
    dict
        ``as_of``; ``row`` (all columns; None where there was none); ``quarantine`` (its row there then, or None);
        ``place`` (``refit_id`` and ``scores``, see `_place`, or None); ``versions``, the oldest first: ``from`` and
        ``until`` (the version of the features with which this content came, and that with which it went, or None),
        ``committed`` (of ``from``), ``content_hash``, ``length``, ``modification_time``, ``ingested_at``,
        ``model_id``; ``refits``: ``refit_id``, ``features_version``, ``content_hash`` (which content it saw),
        ``fitted`` (or transformed alone).

    Raises
    ------
    LakeError
        Where the lake has never had it, or not until then.
    """
    lake = open_lake(location)
    path = normalize(path)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of)
        where = f"WHERE path = {quote_literal(path)} LIMIT 1"
        row = next(iter(query_rows(open_table(lake.features, pinned.number), "*", where)), None)
        bad = _quarantined(lake, where, pinned)
        versions = _versions(lake, path, pinned.number)
        if row is None and bad is None and not versions:
            was = (
                f"was in no table of {lake.root} then"
                if as_of
                else f"is in no table of {lake.root}"
            )
            raise LakeError(f"{path} {was}: give an image path as in the tables, or a refit ID")
        refits = _refits(lake, pinned)
        place = _place(refits, row) if row else None
    return {
        "as_of": version_json(pinned),
        "path": path,
        "row": row and jsonable(row),
        "quarantine": bad and jsonable(bad),
        "place": place,
        "versions": versions,
        "refits": [found for made in refits if (found := seen(made, path, versions))],
    }


def _quarantined(lake: Lake, where: str, pinned: ResolvedVersion) -> JsonObject | None:
    version = version_at(lake.quarantine, pinned)
    if version is None:
        return None
    return next(iter(query_rows(open_table(lake.quarantine, version), "*", where)), None)


def _versions(lake: Lake, path: str, last: int) -> list[JsonObject]:
    """The contents that a path had, as far back as files and Change Data Feed tell them."""
    times = {number: at for number, at in commit_times(lake.features).items() if number <= last}
    try:
        return _since(lake, path, times)
    except (OSError, *table_read_errors()):  # VACUUM took the beginning
        first = oldest_complete_version(lake.features, list(times))
    try:
        return _since(lake, path, {number: at for number, at in times.items() if number >= first})
    except (OSError, *table_read_errors()):
        return []


def _since(lake: Lake, path: str, times: dict[int, datetime]) -> list[JsonObject]:
    """The same from the first of some versions on; what is there already counts as having come with it."""
    first, last = min(times), max(times)
    only = f"path = {quote_literal(path)}"
    there = query_rows(open_table(lake.features, first), ", ".join(_OF_A_VERSION), f"WHERE {only}")
    found = [{"from": first, "until": None, "committed": times[first], **row} for row in there]
    events: list[JsonObject] = []
    if first < last:
        columns = [*_OF_A_VERSION, "_change_type", "_commit_version"]
        feed = read_change_feed(open_table(lake.features, last), first, columns, only)
        events = [event for batch in feed for event in batch_to_rows(batch)]
    # Of one commit, what goes comes before what comes.
    events.sort(key=lambda event: (event["_commit_version"], event["_change_type"] in _COMES))
    for event in events:
        number = event["_commit_version"]
        if event["_change_type"] in _COMES:
            row = {name: event[name] for name in _OF_A_VERSION}
            found.append({"from": number, "until": None, "committed": times.get(number), **row})
        elif found and found[-1]["until"] is None:
            found[-1]["until"] = number
    return [jsonable(version) for version in found]


def _refits(lake: Lake, pinned: ResolvedVersion) -> list[RefitRow]:
    from batch_pca.refits.catalog import read_refits

    return [made for made in read_refits(lake) if made.features_version <= pinned.number]


def _place(refits: list[RefitRow], row: JsonObject) -> JsonObject | None:
    """Where an image lies on the components of the latest refit of its model, whether that has seen it or not."""
    from batch_pca.refits.load import read_fit

    own = [made for made in refits if made.model_id == row["model_id"]]
    for made in sorted(own, key=lambda made: made.features_version, reverse=True):
        try:
            scores = read_fit(made.folder).transform(np.array([row["features"]]))[0]
        except SnapshotError:  # somebody has removed its folder
            continue
        return {"refit_id": made.refit_id, "scores": scores.tolist()}
    return None


def seen(made: RefitRow, path: str, versions: list[JsonObject]) -> JsonObject | None:
    """What a refit saw of a path; None where it saw nothing."""
    at = made.features_version
    for version in versions:
        if version["from"] <= at and (version["until"] is None or at < version["until"]):
            prefix = made.fit_on
            return {
                "refit_id": made.refit_id,
                "features_version": at,
                "content_hash": version["content_hash"],
                "fitted": prefix is None or path.startswith(f"{prefix}/"),
            }
    return None
