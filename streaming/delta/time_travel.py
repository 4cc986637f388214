"""List the table versions available for time travel: the commit is in the log and all data files exist."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import unquote

from streaming.delta.log import (
    MAX_CONCURRENT_READS,
    Commit,
    list_commits,
    monotonic_times,
    parse_actions,
    read_commits,
)
from streaming.delta.reader import open_table
from streaming.storage.open import open_storage

_CHECKPOINT = re.compile(r"/_delta_log/(\d{20})\.checkpoint\b")


def commit_times(location: str) -> dict[int, datetime]:
    """When the versions that the log still tells were committed, in UTC, the oldest first.

    Parameters
    ----------
    location : str
        Normalized URI of a table.
    """
    commits, checkpoints = _listed(location)
    if not commits:
        return {}
    if commits[-1].info().get("inCommitTimestamp"):  # a table can be told to date its commits so
        times = {commit.number: commit.committed for commit in read_commits(location)}
    else:
        moments = monotonic_times(commit.file.modified_ms for commit in commits)
        times = {
            commit.number: datetime.fromtimestamp(moment / 1000, UTC)
            for commit, moment in zip(commits, moments, strict=True)
        }
    first = _first(sorted(times), checkpoints)
    return {number: moment for number, moment in times.items() if number >= first}


def _listed(location: str) -> tuple[list[Commit], list[int]]:
    files = list(open_storage(location).list(f"{location}/_delta_log"))
    found = (_CHECKPOINT.search(file.path) for file in files)
    return list_commits(files), sorted({int(match[1]) for match in found if match})


def _first(numbers: list[int], checkpoints: list[int]) -> int:
    """The first version that can be put together: all commits since the table's first, or since a checkpoint."""
    unbroken = len(numbers) - 1
    while unbroken and numbers[unbroken - 1] == numbers[unbroken] - 1:
        unbroken -= 1
    oldest = numbers[unbroken]
    if not oldest:
        return 0
    return min((number for number in checkpoints if number >= oldest - 1), default=numbers[-1])


def files_complete(location: str, version: int) -> bool:
    """Whether all files of a version are there: VACUUM takes those that later versions have removed."""
    there = _names(location)
    files = open_table(location, version).get_add_actions().column("path").to_pylist()
    # A shallow clone names files elsewhere, in full.
    return all(name in there or unquote(name) in there for name in files if ":" not in name)


def oldest_complete_version(location: str, versions: list[int]) -> int:
    """The version from which on none lacks a file: the last that has removed one that is gone.

    Parameters
    ----------
    location : str
    versions : list of int
        Those that the log tells, oldest first.
    """
    there = _names(location)
    commits = [commit for commit in _listed(location)[0] if commit.number in set(versions)]

    def lost(commit: Commit) -> bool:
        path = commit.file.path
        actions = parse_actions(path, open_storage(path).read(path), b'"remove"')
        removed = (action["remove"]["path"] for action in actions if "remove" in action)
        return any(name not in there and unquote(name) not in there for name in removed)

    with ThreadPoolExecutor(MAX_CONCURRENT_READS) as pool:
        lacking = [
            c.number for c, gone in zip(commits, pool.map(lost, commits), strict=True) if gone
        ]
    return max(lacking, default=versions[0])


def _names(location: str) -> set[str]:
    below = f"{location}/"
    return {file.path.removeprefix(below) for file in open_storage(location).list(location)}
