"""Search the commit history of a lake: the latest micro-batch, its source, and whether rows have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice

from streaming.delta.log import (
    Version,
    latest_commits,
    read_commits,
    read_commits_backwards,
)
from streaming.delta.reader import open_table, read_change_feed, table_read_errors
from streaming.lake.layout import Lake
from streaming.storage.documents import Values, read_document
from streaming.storage.interface import is_normalized

# Commits that are read at most, from the latest one: a stream of one micro-batch every 5 s makes 17,000 a day.
_MAX_COMMITS = 1000
# The same to find the sources of a lake that has no `sources.json`.
_COMMITS_FOR_SOURCES = 100


def last_batch(versions: Mapping[str, int]) -> Version | None:
    """Return the latest commit that processed images; None if there is none among the latest 1,000 of each table.

    Such a commit names its source in the commit metadata. Commits of refits, upgrades and OPTIMIZE do not.

    Parameters
    ----------
    versions : dict
        For each table (features, quarantine), by location, the version at which to begin the search.
    """
    latest = [
        next((v for v in _latest_commits(table, number) if "source" in v.metadata), None)
        for table, number in versions.items()
    ]
    return max((v for v in latest if v), key=lambda version: version.committed, default=None)


def _latest_commits(table: str, newest: int, most: int = _MAX_COMMITS) -> Iterable[Version]:
    return islice(read_commits_backwards(table, newest), most)


def sources_of_latest_commits(versions: Mapping[str, int]) -> set[str]:
    """Return the sources that the latest 100 commits of each table name; `versions` as for `last_batch`."""
    return _sources(
        version
        for table, number in versions.items()
        for version in _latest_commits(table, number, _COMMITS_FOR_SOURCES)
    )


def last_source(lake: Lake) -> str | None:
    """Return the source of the latest commit that processed images; None if there is none."""
    batch = last_batch(_latest_versions(lake))
    return str(batch.metadata["source"]) if batch else None


def last_commit(lake: Lake) -> datetime | None:
    """Return the time of the latest commit that processed images; None if there is none."""
    batch = last_batch(_latest_versions(lake))
    return batch.committed if batch else None


def _latest_versions(lake: Lake) -> dict[str, int]:
    versions = {}
    for table in (lake.features, lake.quarantine):
        for commit in latest_commits(table, 1):
            versions[table] = commit.number
    return versions


def known_sources(lake: Lake) -> list[str]:
    """Return the sources in the ``sources.json`` of a lake, and those of the latest commits if it lacks the last one.

    Earlier builds stored only sources with patterns. Anyone who can write into the lake can name sources in it.

    Raises
    ------
    LakeError
        If ``sources.json`` is damaged.
    """
    try:
        stored = set(
            read_document(
                lake.sources,
                lake.root,
                Values(dict),
                "delete it; the next ingestion writes it again",
            )
        )
    except FileNotFoundError:
        stored = set()
    versions = _latest_versions(lake)
    batch = last_batch(versions)
    if batch and batch.metadata["source"] not in stored:
        stored |= sources_of_latest_commits(versions)
    return sorted(filter(is_normalized, stored))


def recorded_sources(lake: Lake) -> list[str]:
    """Return the sources that the commits of the quarantine name, as far as its log reaches."""
    return sorted(_sources(read_commits(lake.quarantine)))


def _sources(commits: Iterable[Version]) -> set[str]:
    """Return the sources that commits name; a retry without a source names an empty one, which is none."""
    named = (commit.metadata.get("source") for commit in commits)
    return {source for source in named if isinstance(source, str) and source}


def _same_files(location: str, one: int, other: int) -> bool:
    """Return whether two versions have the same data files, and no deletion vectors, as after a RESTORE."""
    tables = [open_table(location, version) for version in (one, other)]
    paths = [set(table.get_add_actions().column("path").to_pylist()) for table in tables]
    return paths[0] == paths[1] and not any(
        batch.num_rows for table in tables for batch in table.deletion_vectors()
    )


def same_rows(lake: Lake, one: int, other: int) -> bool:
    """Return whether two versions of the features have the same rows.

    OPTIMIZE and changed table properties do not count as changes. Returns False if it cannot be determined because
    VACUUM deleted the files of the change feed, or more than 1,000 commits are in between.
    """
    if one == other:
        return True
    low, high = sorted((one, other))
    if high - low > _MAX_COMMITS:
        return False
    for version in read_commits_backwards(lake.features, high, low + 1):
        if version.operation == "RESTORE" and _same_files(lake.features, low, high):
            return True
        # The row counts of other writers may be missing or mean something else.
        if version.changed_rows and version.metadata.get("pomona"):
            return False
    try:
        feed = read_change_feed(open_table(lake.features, high), low, ["path"])
        return not any(batch.num_rows for batch in feed)
    except (OSError, *table_read_errors()):
        return False
