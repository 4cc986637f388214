"""Read the transaction log of a Delta table without Spark: actions and commit information.

The time of a commit is read from the commit itself, because a copy or a restored backup of a table has other
modification times. It is the first of: the in-commit timestamp, if that table feature is enabled; the timestamp of
the commit information; the latest time in the other actions; the modification time of the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import tee
from typing import Any, TypeGuard, TypeVar

from streaming.delta.throughput import duration_of_commit
from streaming.errors import LakeError
from streaming.storage.documents import InvalidDocumentError, parse_document
from streaming.storage.interface import StoredFile
from streaming.storage.open import open_storage

_COMMIT = re.compile(r"/_delta_log/(\d{20})\.json$")
# Milliseconds that `datetime` can represent.
_LATEST_TIME = 253_402_300_799_999
# Fields of other actions that contain a time in milliseconds: of a data file, its removal, the table's creation.
_TIME_FIELDS = {"add": "modificationTime", "remove": "deletionTimestamp", "metaData": "createdTime"}
#: Environment variable that permits files outside of the folder of a table.
EXTERNAL_FILES = "POMONA_EXTERNAL_FILES"
# On S3, each commit that is read is a request with its own latency.
MAX_CONCURRENT_READS = 16
# Commits whose results are in memory at a time.
_CHUNK = 512
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Version:
    """One commit of a table.

    Attributes
    ----------
    committed : datetime
        In UTC.
    operation : str
        Delta's name of the operation; empty if the commit has none.
    added, removed, replaced : int
        Numbers of rows.
    metadata : dict
        The commit metadata (Delta's ``userMetadata``): micro-batch, source, engine, counts.
    seconds : float, optional
        Duration of the batch of images, see `streaming.delta.throughput`; None for other commits.
    has_metrics : bool
        Whether the commit contains numbers of rows; they are 0 otherwise.
    """

    number: int
    committed: datetime
    operation: str
    added: int
    removed: int
    replaced: int
    metadata: dict[str, Any]
    seconds: float | None = None
    has_metrics: bool = True

    @property
    def changed_rows(self) -> bool:
        """Whether the commit is known to have changed rows."""
        return bool(self.added or self.removed or self.replaced)


def version_from_commit_info(number: int, committed_ms: int, info: Mapping[str, Any]) -> Version:
    """Create a `Version` from a commit's ``commitInfo`` action.

    Parameters
    ----------
    number : int
    committed_ms : int
        Milliseconds since 1970.
    info : mapping
        ``operation``, ``operationMetrics`` and ``userMetadata`` are read.
    """
    found = info.get("operationMetrics")
    metrics = {
        key: int(value)
        for key, value in (found.items() if isinstance(found, dict) else ())
        if re.fullmatch(r"[0-9]{1,18}", str(value))
    }
    operation = str(info.get("operation") or "")
    added = removed = replaced = 0
    if operation == "MERGE":
        added, replaced, removed = (
            metrics.get(f"numTargetRows{kind}", metrics.get(f"num_target_rows_{kind.lower()}", 0))
            for kind in ("Inserted", "Updated", "Deleted")
        )
    elif operation == "DELETE":
        removed = metrics.get("numDeletedRows", metrics.get("num_deleted_rows", 0))
    elif operation == "UPDATE":
        replaced = metrics.get("numUpdatedRows", metrics.get("num_updated_rows", 0))
    else:  # WRITE, STREAMING UPDATE, CREATE TABLE AS SELECT and others, by Spark or delta-rs
        added = metrics.get("numOutputRows", metrics.get("num_added_rows", 0))
    committed = datetime.fromtimestamp(committed_ms / 1000, UTC)
    metadata = parse_metadata(info.get("userMetadata"))
    seconds = duration_of_commit(info, metadata)
    return Version(
        number, committed, operation, added, removed, replaced, metadata, seconds, bool(metrics)
    )


def parse_metadata(text: Any) -> dict[str, Any]:
    """Parse commit metadata; return an empty dict for commits that Pomona did not make."""
    if not isinstance(text, str):
        return {}
    try:
        metadata: dict[str, Any] = parse_document(text, dict)
    except InvalidDocumentError:
        return {}
    return metadata


@dataclass(frozen=True)
class Commit:
    """The file of one commit in the log."""

    number: int
    file: StoredFile

    def content(self) -> bytes:
        """Return the content of the file."""
        return read_log_file(self.file.path)

    def read(self, content: bytes | None = None) -> tuple[int, dict[str, Any]]:
        """Return the commit time in milliseconds, and the ``commitInfo`` action; that is empty if there is none."""
        content = self.content() if content is None else content
        info = _parse_info(self.file.path, content)
        return _commit_time(self.file, info, content), info


def list_log(location: str, first: int = 0) -> Iterator[StoredFile]:
    """Yield the files in the log of a table from a version on, in any order; none if there is no table.

    Links out of the table are followed only if the user permits external files.
    """
    return open_storage(location).list(
        f"{location}/_delta_log",
        follow_outside=is_external_permitted(),
        within=location,
        start_after=f"{first:020}" if first else "",
    )


def last_checkpoint(location: str) -> int:
    """Return the version of the checkpoint that the log names as its last one; 0 if it names none.

    This is a hint: the checkpoint may be missing, and later ones may exist.
    """
    try:
        content = read_log_file(f"{location}/_delta_log/_last_checkpoint")
        version: int = parse_document(content, {"version": int})["version"]
    except (FileNotFoundError, InvalidDocumentError):
        return 0
    return max(version, 0)


def read_log_file(path: str) -> bytes:
    """Return the content of a file in the log of a table, as `read_table_file` does."""
    return read_table_file(path.partition("/_delta_log/")[0], path)


def read_table_file(location: str, path: str) -> bytes:
    """Return the content of a file of a table; LakeError if it is a link out of the table."""
    return open_storage(location).read(path, None if is_external_permitted() else location)


def is_external_permitted() -> bool:
    """Return whether the user permits tables to refer to files outside of their folder, as shallow clones do."""
    return bool(os.environ.get(EXTERNAL_FILES))


def list_commits(files: Iterable[StoredFile]) -> list[Commit]:
    """Return the commits among the files of a log, oldest first."""
    matches = ((_COMMIT.search(file.path), file) for file in files)
    commits = (Commit(int(match[1]), file) for match, file in matches if match)
    return sorted(commits, key=lambda commit: commit.number)


def latest_commits(location: str, count: int) -> list[Commit]:
    """Return the latest commits in a table's log, up to `count`, oldest first.

    The log is listed from shortly before its last checkpoint, because it keeps the commits of ten years; completely if
    that part has too few commits, as after log cleanup or if the log names a checkpoint that it does not have.
    """
    first = max(last_checkpoint(location) - count, 0)
    commits = list_commits(list_log(location, first))
    if first and len(commits) < count:
        commits = list_commits(list_log(location))
    return commits[-count:]


def read_commits(location: str, last: int | None = None) -> list[Version]:
    """Return the commits in a table's log, oldest first, with strictly increasing commit times.

    Parameters
    ----------
    location : str
        Normalized URI of the table.
    last : int, optional
        Return only this many of the latest commits.
    """
    commits = list_commits(list_log(location)) if last is None else latest_commits(location, last)
    return list(read_versions(commits))


def read_versions(commits: Sequence[Commit]) -> Iterator[Version]:
    """Read consecutive commits, oldest first; their times are made strictly increasing."""
    contents, same = tee(map_commits(Commit.read, commits))
    times = monotonic_times(time for time, _ in same)
    for commit, time, (_, info) in zip(commits, times, contents, strict=True):
        yield version_from_commit_info(commit.number, time, info)


def map_commits(
    function: Callable[[Commit], _Result], commits: Sequence[Commit]
) -> Iterator[_Result]:
    """Yield the result of a function for each commit, in order; it is called for up to `_CHUNK` commits in advance."""
    with ThreadPoolExecutor(MAX_CONCURRENT_READS) as pool:
        for start in range(0, len(commits), _CHUNK):
            yield from pool.map(function, commits[start : start + _CHUNK])


def monotonic_times(times: Iterable[int]) -> Iterator[int]:
    """Make commit times, in milliseconds, strictly increasing as Delta does, since clocks of writers differ."""
    latest = 0
    for time in times:
        latest = max(time, latest + 1)
        yield latest


def read_commits_backwards(location: str, newest: int, oldest: int = 0) -> Iterator[Version]:
    """Yield commits from the newest to the oldest, reading one file at a time; use it if few commits are needed.

    Parameters
    ----------
    location : str
        Normalized URI of the table.
    newest, oldest : int
        First and last version to read. Iteration ends earlier if the log does.
    """
    for number in range(newest, oldest - 1, -1):
        try:
            time, info = find_commit(location, number).read()
        except FileNotFoundError:  # deleted by log cleanup, after a checkpoint
            return
        yield version_from_commit_info(number, time, info)


def find_commit(location: str, number: int) -> Commit:
    """Return one commit without listing the log; FileNotFoundError if it is not there."""
    path = f"{location}/_delta_log/{number:020}.json"
    return Commit(number, open_storage(location).stat(path))


def _parse_info(path: str, content: bytes) -> dict[str, Any]:
    for action in parse_actions(path, content, b'"commitInfo"'):
        info = action.get("commitInfo")
        if isinstance(info, dict):
            return info
    return {}


def parse_actions(path: str, content: bytes, containing: bytes = b"") -> Iterator[dict[str, Any]]:
    """Yield the actions in a commit's file, of lines that contain some bytes; LakeError if a line is not valid JSON."""
    for line in content.splitlines():
        if containing not in line:
            continue
        try:
            action = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LakeError(
                f"{path}: damaged ({error}): restore this file; the table cannot be read without it"
            ) from error
        if isinstance(action, dict):
            yield action


def _commit_time(file: StoredFile, info: Mapping[str, Any], content: bytes) -> int:
    """Return the time of a commit in milliseconds, see the module."""
    for time in (info.get("inCommitTimestamp"), info.get("timestamp")):
        if _is_time(time):
            return time
    times = [
        action[kind].get(field)
        for action in parse_actions(file.path, content, b"ime")  # ...Time, deletionTimestamp
        for kind, field in _TIME_FIELDS.items()
        if isinstance(action.get(kind), dict)
    ]
    return max(filter(_is_time, times), default=file.modified_ms)


def _is_time(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and 0 < value <= _LATEST_TIME
