"""List the versions of the features table with their refits and tags."""

from __future__ import annotations

from pomona.queries.session import JsonObject, format_timestamp, open_lake, translate_read_errors
from streaming.delta.reader import open_table, query_rows
from streaming.delta.row_counts import CountedVersion, count_rows
from streaming.delta.tables import is_table
from streaming.delta.throughput import images_of_commit, images_per_second
from streaming.lake.layout import Lake
from streaming.lake.tags import read_tags
from streaming.lake.versions import ResolvedVersion, resolve_version


def history(location: str, as_of: str | ResolvedVersion | None = None) -> list[JsonObject]:
    """Return the versions of the features table, up to `as_of` if given.

    Returns
    -------
    list of dict
        Oldest first: ``version``, ``committed`` (ISO 8601), ``operation``, ``added``, ``replaced``, ``removed``,
        ``total`` (rows after it), ``images_per_second``, ``refits`` (IDs of the refits of this version) and ``tags``.
        The counts come from the log, for commits by any writer (`streaming.delta.row_counts`): each total is the one
        before plus ``added`` minus ``removed``.
    """
    lake = open_lake(location)
    with translate_read_errors():
        names = refits_and_tags_by_version(lake)
        last = resolve_version(lake, as_of).number
        return [
            _version_row(counted)
            | {kind: by.get(counted.version.number, []) for kind, by in names.items()}
            for counted in count_rows(lake.features, last)
        ]


def _version_row(counted: CountedVersion) -> JsonObject:
    version = counted.version
    return {
        "version": version.number,
        "committed": format_timestamp(version.committed),
        "operation": version.operation,
        "added": version.added,
        "replaced": version.replaced,
        "removed": version.removed,
        "total": counted.total,
        "images_per_second": images_per_second(images_of_commit(version.metadata), version.seconds),
    }


def refits_and_tags_by_version(lake: Lake) -> dict[str, dict[int, list[str]]]:
    """Return the IDs of the ``refits``, oldest first, and the ``tags`` of each version."""
    names: dict[str, dict[int, list[str]]] = {"refits": {}, "tags": {}}
    if is_table(lake.refits):
        columns = "refit_id, features_version"
        for refit in query_rows(open_table(lake.refits), columns, "ORDER BY created_at"):
            names["refits"].setdefault(refit["features_version"], []).append(refit["refit_id"])
    for tag in read_tags(lake):
        names["tags"].setdefault(tag.version, []).append(tag.name)
    return names
