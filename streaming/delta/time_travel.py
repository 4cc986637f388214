"""List the table versions available for time travel: the commit is in the log and all data files exist."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import unquote

from streaming.delta.log import (
    Commit,
    is_external_permitted,
    list_commits,
    list_log,
    map_commits,
    parse_actions,
    read_commits,
    read_log_file,
    read_versions,
)
from streaming.delta.reader import open_table
from streaming.storage.open import open_storage

# Enough that a writer whose clock is ahead does not make later commits appear older.
_COMMITS_FOR_LATEST = 16
_CHECKPOINT = re.compile(r"/_delta_log/(\d{20})\.checkpoint\b")


def commit_times(location: str) -> dict[int, datetime]:
    """Return the commit time (in UTC) of each version that can be reconstructed from the log, oldest first.

    Parameters
    ----------
    location : str
        Normalized URI of a table.
    """
    return {
        version.number: version.committed for version in read_versions(available_commits(location))
    }


def latest_version(location: str) -> tuple[int, datetime] | None:
    """Return the latest version and its commit time (in UTC) from a few commits; None without a version."""
    latest = read_commits(location, _COMMITS_FOR_LATEST)
    return (latest[-1].number, latest[-1].committed) if latest else None


def available_commits(location: str) -> list[Commit]:
    """Return the commits of the versions that can be reconstructed from the log, oldest first."""
    commits, checkpoints = _list_log(location)
    if not commits:
        return []
    first = _first_available([commit.number for commit in commits], checkpoints)
    return [commit for commit in commits if commit.number >= first]


def _list_log(location: str) -> tuple[list[Commit], list[int]]:
    """Return the commits in a log, and the versions of its checkpoints."""
    files = list(list_log(location))
    matches = (_CHECKPOINT.search(file.path) for file in files)
    return list_commits(files), sorted({int(match[1]) for match in matches if match})


def _first_available(numbers: list[int], checkpoints: list[int]) -> int:
    """Return the first version that can be reconstructed: from version 0, or from a checkpoint, without a gap."""
    index = len(numbers) - 1
    while index and numbers[index - 1] == numbers[index] - 1:
        index -= 1
    oldest = numbers[index]
    if not oldest:
        return 0
    return min((number for number in checkpoints if number >= oldest - 1), default=numbers[-1])


def files_complete(location: str, version: int) -> bool:
    """Return whether all data files of a version exist: VACUUM deletes those that later versions removed."""
    existing = _existing_files(location)
    files = open_table(location, version).get_add_actions().column("path").to_pylist()
    # A shallow clone has absolute URIs, of files outside the table.
    return all(name in existing or unquote(name) in existing for name in files if ":" not in name)


def oldest_complete_version(location: str, versions: list[int]) -> int:
    """Return the first version from which all versions have their data files.

    That is the last version that removed a file which no longer exists.

    Parameters
    ----------
    location : str
        Normalized URI of a table.
    versions : list of int
        Versions in the log, oldest first.
    """
    existing = _existing_files(location)
    numbers = set(versions)
    commits = [commit for commit in _list_log(location)[0] if commit.number in numbers]

    def removed_a_deleted_file(commit: Commit) -> bool:
        """Return whether a commit removed a data file that no longer exists."""
        path = commit.file.path
        actions = parse_actions(path, read_log_file(path), b'"remove"')
        removed = (action["remove"]["path"] for action in actions if "remove" in action)
        return any(name not in existing and unquote(name) not in existing for name in removed)

    deleted = map_commits(removed_a_deleted_file, commits)
    return max(
        (commit.number for commit, is_deleted in zip(commits, deleted, strict=True) if is_deleted),
        default=versions[0],
    )


def _existing_files(location: str) -> set[str]:
    """Return the paths of all files of a table, relative to its folder."""
    prefix = f"{location}/"
    files = open_storage(location).list(location, follow_outside=is_external_permitted())
    return {file.path.removeprefix(prefix) for file in files}
