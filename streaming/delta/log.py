"""Read the transaction log of a Delta table without Spark: actions and commit information."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streaming.errors import LakeError
from streaming.storage.interface import StoredFile
from streaming.storage.open import open_storage

_COMMIT = re.compile(r"/_delta_log/(\d{20})\.json$")
# On S3, each commit that is read is a request with its own latency.
MAX_CONCURRENT_READS = 16


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
    """

    number: int
    committed: datetime
    operation: str
    added: int
    removed: int
    replaced: int
    metadata: dict[str, Any]

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
    metrics = {
        key: int(value)
        for key, value in (info.get("operationMetrics") or {}).items()
        if str(value).isdigit()
    }
    operation = info.get("operation") or ""
    added = removed = replaced = 0
    if operation == "MERGE":
        added, replaced, removed = (
            metrics.get(f"numTargetRows{kind}", metrics.get(f"num_target_rows_{kind.lower()}", 0))
            for kind in ("Inserted", "Updated", "Deleted")
        )
    elif operation in ("WRITE", "STREAMING UPDATE"):
        added = metrics.get("numOutputRows", metrics.get("num_added_rows", 0))  # Spark, delta-rs
    elif operation == "DELETE":
        removed = metrics.get("numDeletedRows", metrics.get("num_deleted_rows", 0))
    committed = datetime.fromtimestamp(committed_ms / 1000, UTC)
    metadata = parse_metadata(info.get("userMetadata"))
    return Version(number, committed, operation, added, removed, replaced, metadata)


def parse_metadata(text: str | None) -> dict[str, Any]:
    """Parse commit metadata; return an empty dict for commits that Pomona did not make."""
    try:
        metadata = json.loads(text or "{}")
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


@dataclass(frozen=True)
class Commit:
    """The file of one commit in the log."""

    number: int
    file: StoredFile

    def info(self) -> dict[str, Any]:
        """Return the ``commitInfo`` action; empty if there is none."""
        return _read_info(self.file.path)


def list_commits(files: Iterable[StoredFile]) -> list[Commit]:
    """Return the commits among the files of a log, oldest first."""
    matches = ((_COMMIT.search(file.path), file) for file in files)
    commits = (Commit(int(match[1]), file) for match, file in matches if match)
    return sorted(commits, key=lambda commit: commit.number)


def read_commits(location: str, last: int | None = None) -> list[Version]:
    """Return the commits in a table's log, oldest first, with the timestamps that Spark assigns to them.

    Parameters
    ----------
    location : str
        Normalized URI of the table.
    last : int, optional
        Return only this many of the latest commits.
    """
    commits = list_commits(open_storage(location).list(f"{location}/_delta_log"))
    if last is not None:
        commits = commits[-last:]
    with ThreadPoolExecutor(MAX_CONCURRENT_READS) as pool:
        infos = list(pool.map(Commit.info, commits))
    times = monotonic_times(
        _committed_ms(c.file, info) for c, info in zip(commits, infos, strict=True)
    )
    return [
        version_from_commit_info(c.number, at, info)
        for c, at, info in zip(commits, times, infos, strict=True)
    ]


def monotonic_times(times: Iterable[int]) -> Iterator[int]:
    """Make commit times, in milliseconds, strictly increasing as Spark does, since clocks of writers differ."""
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
    storage = open_storage(location)
    for number in range(newest, oldest - 1, -1):
        path = f"{location}/_delta_log/{number:020}.json"
        try:
            info = _read_info(path)
            yield version_from_commit_info(number, _committed_ms(storage.stat(path), info), info)
        except FileNotFoundError:  # deleted by log cleanup, after a checkpoint
            return


def _read_info(path: str) -> dict[str, Any]:
    for action in parse_actions(path, open_storage(path).read(path), b'"commitInfo"'):
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
        except ValueError as error:
            raise LakeError(
                f"{path}: damaged ({error}): restore this file; the table cannot be read without it"
            ) from error
        if isinstance(action, dict):
            yield action


def _committed_ms(file: StoredFile, info: Mapping[str, Any]) -> int:
    return int(info.get("inCommitTimestamp") or file.modified_ms)
