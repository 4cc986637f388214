"""Count the rows of each version of a table from its log, for commits by any writer.

The metrics of a commit are optional, differ between writers, and lack the rows that an overwrite or a restore removes.
The actions of a commit are complete: the rows of a version are those of its data files, less those that deletion
vectors mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import tee
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet

from streaming.delta.log import (
    MAX_CONCURRENT_READS,
    Commit,
    Version,
    find_commit,
    map_commits,
    monotonic_times,
    parse_actions,
    read_table_file,
    version_from_commit_info,
)
from streaming.delta.reader import open_table
from streaming.delta.time_travel import available_commits
from streaming.storage.documents import InvalidDocumentError, Optional, parse_document

#: Commits that `count_changes` reads at most: a second on a disk, some seconds on S3.
MAX_COMMITS_COUNTED = 1000
# Rows by data file; None if they cannot be determined.
Files = dict[str, int | None]


@dataclass(frozen=True)
class CountedVersion:
    """A version with counts that are consistent with the one before: ``total = total before + added - removed``.

    Attributes
    ----------
    version : Version
        With the numbers of added, replaced and removed rows, none of them negative.
    total : int or None
        Number of rows; None if another program wrote no statistics and VACUUM has deleted the file.
    """

    version: Version
    total: int | None


@dataclass(frozen=True)
class _Content:
    """What a commit changes: `added` and `removed` data files, and whether their rows count as changes."""

    time_ms: int
    info: Mapping[str, Any]
    added: Files
    removed: Sequence[str]
    data_change: bool


class _LiveFiles:
    """The data files of a version, and their total number of rows, which a commit updates by its own files only."""

    def __init__(self, files: Files) -> None:
        self._rows: Files = {}
        self._known_rows = 0
        self._unknown_files = 0
        for name, rows in files.items():
            self._add(name, rows)

    @property
    def total(self) -> int | None:
        """The number of rows; None if it cannot be determined for a file."""
        return None if self._unknown_files else self._known_rows

    def apply(self, content: _Content) -> tuple[int, int]:
        """Apply a commit; return the rows in the files it added and in those it removed."""
        removed = sum(self._remove(name) for name in content.removed)
        # A file may be added again, with another deletion vector.
        removed += sum(self._remove(name) for name in content.added)
        added = sum(self._add(name, rows) for name, rows in content.added.items())
        return (added, removed) if content.data_change else (0, 0)

    def _add(self, name: str, rows: int | None) -> int:
        """Add a file that is not among the files; return its rows, 0 if unknown."""
        self._rows[name] = rows
        self._unknown_files += rows is None
        self._known_rows += rows or 0
        return rows or 0

    def _remove(self, name: str) -> int:
        """Remove a file if it is among the files; return its rows, 0 if unknown."""
        if name not in self._rows:
            return 0
        rows = self._rows.pop(name)
        self._unknown_files -= rows is None
        self._known_rows -= rows or 0
        return rows or 0


def count_rows(location: str, until: int | None = None) -> Iterator[CountedVersion]:
    """Yield the versions that can be reconstructed from the log, oldest first, up to `until` if given.

    Parameters
    ----------
    location : str
        Normalized URI of the table.
    until : int, optional
        Last version.
    """
    commits = [c for c in available_commits(location) if until is None or c.number <= until]
    if not commits:
        return
    first = commits[0].number
    files = _LiveFiles(_files_at(location, first) if first else {})
    # The files of the first version are known already, the ones before it are not.
    yield from _count(location, commits, files, known=first or None)


def count_changes(location: str, after: int, until: int) -> tuple[int, int, int] | None:
    """Count the rows added, replaced and removed after one version up to another.

    Returns
    -------
    tuple of int, optional
        None if one of the commits is no longer in the log, or if there are more than `MAX_COMMITS_COUNTED`.
    """
    if until - after > MAX_COMMITS_COUNTED:
        return None
    numbers = range(after, until + 1)
    with ThreadPoolExecutor(MAX_CONCURRENT_READS) as pool:
        try:
            commits = list(pool.map(lambda number: find_commit(location, number), numbers))
        except FileNotFoundError:
            return None
    files = _LiveFiles(_files_at(location, after))
    if files.total is None:
        return None
    added = replaced = removed = 0
    for counted in _count(location, commits[1:], files):
        if counted.total is None:
            return None
        added += counted.version.added
        replaced += counted.version.replaced
        removed += counted.version.removed
    return added, replaced, removed


def _count(
    location: str, commits: Sequence[Commit], files: _LiveFiles, known: int | None = None
) -> Iterator[CountedVersion]:
    """Apply consecutive commits to the data files before them, and yield each version.

    `files` are those of the version `known` if that is the first one.
    """
    before = files.total
    for number, time, content in _read_all(location, commits):
        version = version_from_commit_info(number, time, content.info)
        if number == known:
            yield CountedVersion(version, before)
            continue
        gross_added, gross_removed = files.apply(content)
        total = files.total
        if total is not None and before is not None:
            version = _reconcile(version, content.info, total - before, gross_added, gross_removed)
        yield CountedVersion(version, total)
        before = total


def _reconcile(
    version: Version, info: Mapping[str, Any], net: int, gross_added: int, gross_removed: int
) -> Version:
    """Return the version with counts that explain the net change of its number of rows."""
    added, replaced, removed = version.added, version.replaced, version.removed
    if version.operation == "RESTORE" or not info.get("operationMetrics"):
        # No count of rows: whole files appear and disappear.
        if version.operation == "DELETE":
            gross_added, gross_removed = gross_added - min(gross_added, gross_removed), -net
        return replace(version, added=gross_added, replaced=0, removed=gross_removed)
    if added - removed != net:
        # An overwrite has no count of the rows that it removed.
        if added >= net:
            removed = added - net
        else:
            added = removed + net
    return replace(version, added=added, replaced=replaced, removed=removed)


def _read_all(location: str, commits: Sequence[Commit]) -> Iterator[tuple[int, int, _Content]]:
    """Yield the number, the strictly increasing time and the content of each commit."""
    contents, same = tee(map_commits(lambda commit: _read(location, commit), commits))
    times = monotonic_times(content.time_ms for content in same)
    for commit, time, content in zip(commits, times, contents, strict=True):
        yield commit.number, time, content


def _read(location: str, commit: Commit) -> _Content:
    file = commit.content()
    time_ms, info = commit.read(file)
    added: Files = {}
    removed = []
    data_change = False
    for action in parse_actions(commit.file.path, file):
        if isinstance(add := action.get("add"), dict):
            added[unquote(add["path"])] = _rows_of(location, add)
            data_change = data_change or add.get("dataChange", True)
        elif isinstance(remove := action.get("remove"), dict):
            removed.append(unquote(remove["path"]))
            data_change = data_change or remove.get("dataChange", True)
    return _Content(time_ms, info, added, removed, data_change)


def _rows_of(location: str, add: Mapping[str, Any]) -> int | None:
    """Return the number of rows of an added file, from its statistics or else from the file itself."""
    deleted = (add.get("deletionVector") or {}).get("cardinality", 0)
    try:
        rows = parse_document(str(add.get("stats") or "{}"), {"numRecords": Optional(int)}).get(
            "numRecords"
        )
    except InvalidDocumentError:
        rows = None
    if rows is None:
        rows = _rows_in_file(location, unquote(add["path"]))
    return None if rows is None else rows - deleted


def _rows_in_file(location: str, name: str) -> int | None:
    path = name if ":" in name else f"{location}/{name}"
    try:
        content = BytesIO(read_table_file(location, path))
        return int(pyarrow.parquet.read_metadata(content).num_rows)
    except (OSError, pyarrow.ArrowInvalid):
        return None


def _files_at(location: str, version: int) -> Files:
    """Return the rows of each data file of a version."""
    table = open_table(location, version)
    actions = table.get_add_actions()
    files: Files = {}
    for name, rows in zip(
        actions.column("path").to_pylist(), actions.column("num_records").to_pylist(), strict=True
    ):
        name = unquote(name)
        files[name] = rows if rows is not None else _rows_in_file(location, name)
    deleted = {
        unquote(row["filepath"]).rpartition("/")[2]: row["selection_vector"].count(False)
        for batch in table.deletion_vectors()
        for row in pyarrow.record_batch(batch).to_pylist()
    }
    for name, rows in files.items():
        if rows is not None:
            files[name] = rows - deleted.get(name.rpartition("/")[2], 0)
    return files
