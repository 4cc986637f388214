"""Search the commit history of a lake: the latest micro-batch, its source, and whether rows have changed."""

from __future__ import annotations

from collections.abc import Mapping

from streaming.delta.log import Version, list_commits, read_commits_backwards
from streaming.delta.reader import open_table, read_change_feed, table_read_errors
from streaming.lake.layout import Lake
from streaming.storage.open import open_storage


def last_batch(versions: Mapping[str, int]) -> Version | None:
    """Return the latest commit that processed images; None if there is none.

    Such a commit names its source in the commit metadata. Commits of refits, upgrades and OPTIMIZE do not.

    Parameters
    ----------
    versions : dict
        For each table (features, quarantine), by location, the version at which to begin the search.
    """
    latest = [
        next((v for v in read_commits_backwards(table, number) if "source" in v.metadata), None)
        for table, number in versions.items()
    ]
    return max((v for v in latest if v), key=lambda version: version.committed, default=None)


def last_source(lake: Lake) -> str | None:
    """Return the source of the latest commit that processed images; None if there is none."""
    versions = {}
    for table in (lake.features, lake.quarantine):
        commits = list_commits(open_storage(table).list(f"{table}/_delta_log"))
        if commits:
            versions[table] = commits[-1].number
    batch = last_batch(versions)
    return str(batch.metadata["source"]) if batch else None


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
    VACUUM deleted the files of the change feed.
    """
    if one == other:
        return True
    low, high = sorted((one, other))
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
