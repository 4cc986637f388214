"""History of one image, and contents of a lake at a version; read without Spark."""

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
from streaming.storage.interface import is_below, normalize

if TYPE_CHECKING:
    from batch_pca.refits.catalog import RefitRow

_VERSION_COLUMNS = ["content_hash", "length", "modification_time", "ingested_at", "model_id"]
_INSERTS = ("insert", "update_postimage")


def describe_version(location: str, as_of: str | None = None) -> JsonObject:
    """Describe the contents of a lake at a version.

    Returns
    -------
    dict
        ``as_of`` (``version``, ``committed``, ``resolved``), ``rows``, ``model_id``, ``labels`` (rows by label),
        ``refits`` (IDs of the refits of this version), ``tags``.
    """
    lake = open_lake(location)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of)
        features = open_table(lake.features, pinned.number)
        counts = "label, count(*) AS rows, max(model_id) AS model_id"
        labels = query_rows(features, counts, "GROUP BY label ORDER BY label")
        names = refits_and_tags_by_version(lake)
    return {
        "as_of": version_json(pinned),
        "rows": sum(row["rows"] for row in labels),
        "model_id": max((row["model_id"] for row in labels), default=None),
        "labels": {row["label"]: row["rows"] for row in labels},
        **{key: by_version.get(pinned.number, []) for key, by_version in names.items()},
    }


def describe_image(location: str, path: str, as_of: str | None = None) -> JsonObject:
    """Describe an image: its row, its PCA scores, its versions, and the refits that include it.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    path : str
        Path as in the tables, or a local path.
    as_of : str, optional
        Version of the features.

    Returns
    -------
    dict
        ``as_of``; ``row`` (all columns, or None); ``quarantine`` (its row in quarantine at that version, or None);
        ``latest_scores`` (``refit_id`` and ``scores``, see `_latest_scores`, or None);
        ``versions``, oldest first: ``from`` and ``until`` (versions of the features that added and removed this
        content; ``until`` may be None),
        ``committed`` (of ``from``), ``content_hash``, ``length``, ``modification_time``, ``ingested_at``,
        ``model_id``; ``refits``: ``refit_id``, ``features_version``, ``content_hash`` (the content it used),
        ``fitted`` (False if the image was only transformed).

    Raises
    ------
    LakeError
        If the lake did not contain the image at that version or before.
    """
    lake = open_lake(location)
    path = normalize(path)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of)
        condition = f"WHERE path = {quote_literal(path)} LIMIT 1"
        row = next(iter(query_rows(open_table(lake.features, pinned.number), "*", condition)), None)
        quarantined = _quarantined(lake, condition, pinned)
        versions = _versions(lake, path, pinned.number)
        if row is None and quarantined is None and not versions:
            was = (
                f"was in no table of {lake.root} then"
                if as_of
                else f"is in no table of {lake.root}"
            )
            raise LakeError(f"{path} {was}: give an image path as in the tables, or a refit ID")
        refits = _refits(lake, pinned)
        latest_scores = _latest_scores(refits, row) if row else None
    return {
        "as_of": version_json(pinned),
        "path": path,
        "row": row and jsonable(row),
        "quarantine": quarantined and jsonable(quarantined),
        "latest_scores": latest_scores,
        "versions": versions,
        "refits": [
            included for refit in refits if (included := content_in_refit(refit, path, versions))
        ],
    }


def _quarantined(lake: Lake, condition: str, pinned: ResolvedVersion) -> JsonObject | None:
    version = version_at(lake.quarantine, pinned)
    if version is None:
        return None
    return next(iter(query_rows(open_table(lake.quarantine, version), "*", condition)), None)


def _versions(lake: Lake, path: str, last: int) -> list[JsonObject]:
    """Return the contents of a path, as far back as data files and the change data feed exist."""
    times = {number: at for number, at in commit_times(lake.features).items() if number <= last}
    try:
        return _since(lake, path, times)
    except (OSError, *table_read_errors()):  # VACUUM has deleted files of the oldest versions
        first = oldest_complete_version(lake.features, list(times))
    try:
        return _since(lake, path, {number: at for number, at in times.items() if number >= first})
    except (OSError, *table_read_errors()):
        return []


def _since(lake: Lake, path: str, times: dict[int, datetime]) -> list[JsonObject]:
    """Return the contents of a path from the first of the given versions on; its content there counts as added."""
    first, last = min(times), max(times)
    condition = f"path = {quote_literal(path)}"
    existing = query_rows(
        open_table(lake.features, first), ", ".join(_VERSION_COLUMNS), f"WHERE {condition}"
    )
    contents = [
        {"from": first, "until": None, "committed": times[first], **row} for row in existing
    ]
    events: list[JsonObject] = []
    if first < last:
        columns = [*_VERSION_COLUMNS, "_change_type", "_commit_version"]
        feed = read_change_feed(open_table(lake.features, last), first, columns, condition)
        events = [event for batch in feed for event in batch_to_rows(batch)]
    # Within a commit, deletions are sorted before insertions.
    events.sort(key=lambda event: (event["_commit_version"], event["_change_type"] in _INSERTS))
    for event in events:
        number = event["_commit_version"]
        if event["_change_type"] in _INSERTS:
            row = {name: event[name] for name in _VERSION_COLUMNS}
            contents.append({"from": number, "until": None, "committed": times.get(number), **row})
        elif contents and contents[-1]["until"] is None:
            contents[-1]["until"] = number
    return [jsonable(version) for version in contents]


def _refits(lake: Lake, pinned: ResolvedVersion) -> list[RefitRow]:
    from batch_pca.refits.catalog import read_refits

    return [refit for refit in read_refits(lake) if refit.features_version <= pinned.number]


def _latest_scores(refits: list[RefitRow], row: JsonObject) -> JsonObject | None:
    """Project an image on the components of the latest refit of its model, even if the refit did not include it."""
    from batch_pca.refits.load import read_fit

    own = [refit for refit in refits if refit.model_id == row["model_id"]]
    for refit in sorted(own, key=lambda refit: refit.features_version, reverse=True):
        try:
            scores = read_fit(refit).transform(np.array([row["features"]]))[0]
        except SnapshotError:  # its folder was deleted
            continue
        return {"refit_id": refit.refit_id, "scores": scores.tolist()}
    return None


def content_in_refit(refit: RefitRow, path: str, versions: list[JsonObject]) -> JsonObject | None:
    """Return which content of a path a refit used; None if it did not include the path."""
    at = refit.features_version
    for version in versions:
        if version["from"] <= at and (version["until"] is None or at < version["until"]):
            prefix = refit.fit_on
            return {
                "refit_id": refit.refit_id,
                "features_version": at,
                "content_hash": version["content_hash"],
                "fitted": prefix is None or is_below(path, prefix),
            }
    return None
