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
# On S3 each commit is a request, and waits for its answer.
MAX_CONCURRENT_READS = 16


@dataclass(frozen=True)
class Version:
    """One commit of a table: what it changed, and what it told of itself.

    Attributes
    ----------
    number : int
    committed : datetime
        In UTC.
    operation : str
        As Delta names it; empty where the writer did not say.
    added, removed, replaced : int
        Rows.
    metadata : dict
        The commit's metadata: micro-batch, source, engine, counts.
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
        """Whether it is known to have changed any row."""
        return bool(self.added or self.removed or self.replaced)


def version_from_commit_info(number: int, committed_ms: int, info: Mapping[str, Any]) -> Version:
    """Make a version of what a commit says.

    Parameters
    ----------
    number : int
    committed_ms : int
        Milliseconds since 1970.
    info : mapping
        Delta's ``commitInfo``: ``operation``, ``operationMetrics``, ``userMetadata``.
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
            metrics.get(f"numTargetRows{did}", metrics.get(f"num_target_rows_{did.lower()}", 0))
            for did in ("Inserted", "Updated", "Deleted")
        )
    elif operation in ("WRITE", "STREAMING UPDATE"):
        added = metrics.get("numOutputRows", metrics.get("num_added_rows", 0))  # Spark, delta-rs
    elif operation == "DELETE":
        removed = metrics.get("numDeletedRows", metrics.get("num_deleted_rows", 0))
    committed = datetime.fromtimestamp(committed_ms / 1000, UTC)
    told = parse_metadata(info.get("userMetadata"))
    return Version(number, committed, operation, added, removed, replaced, told)


def parse_metadata(text: str | None) -> dict[str, Any]:
    """What a commit told of itself; empty for commits that Pomona did not make."""
    try:
        told = json.loads(text or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


@dataclass(frozen=True)
class Commit:
    """One commit's file in the log."""

    number: int
    file: StoredFile

    def info(self) -> dict[str, Any]:
        """What it says of itself: Delta's ``commitInfo``; empty where its writer said nothing."""
        return _info(self.file.path)


def list_commits(files: Iterable[StoredFile]) -> list[Commit]:
    """The commits among the files of a log, oldest first."""
    found = ((_COMMIT.search(file.path), file) for file in files)
    commits = (Commit(int(match[1]), file) for match, file in found if match)
    return sorted(commits, key=lambda commit: commit.number)


def read_commits(location: str, last: int | None = None) -> list[Version]:
    """All commits that a table's log still holds, or the last so many, oldest first, dated as Spark dates them.

    Parameters
    ----------
    location : str
        Normalized URI of the table.
    last : int, optional
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
    """Times of commits, in milliseconds, as Spark takes them: each later than the one before, whatever clocks say."""
    latest = 0
    for time in times:
        latest = max(time, latest + 1)
        yield latest


def read_commits_backwards(location: str, newest: int, oldest: int = 0) -> Iterator[Version]:
    """Commits from the newest back to an oldest, read one by one, for whoever needs few of them.

    Parameters
    ----------
    location : str
    newest : int
        Number of a commit that is there.
    oldest : int
        Where to end; the log may end before.
    """
    storage = open_storage(location)
    for number in range(newest, oldest - 1, -1):
        path = f"{location}/_delta_log/{number:020}.json"
        try:
            info = _info(path)
            yield version_from_commit_info(number, _committed_ms(storage.stat(path), info), info)
        except FileNotFoundError:  # cleaned away behind a checkpoint
            return


def _info(path: str) -> dict[str, Any]:
    for action in parse_actions(path, open_storage(path).read(path), b'"commitInfo"'):
        info = action.get("commitInfo")
        if isinstance(info, dict):
            return info
    return {}


def parse_actions(path: str, content: bytes, naming: bytes = b"") -> Iterator[dict[str, Any]]:
    """The lines of a commit's file that name something; LakeError where one is damaged."""
    for line in content.splitlines():
        if naming not in line:
            continue
        try:
            action = json.loads(line)
        except ValueError as error:
            raise LakeError(
                f"{path}: damaged ({error}): restore this file, without which the table cannot be read"
            ) from error
        if isinstance(action, dict):
            yield action


def _committed_ms(file: StoredFile, info: Mapping[str, Any]) -> int:
    return int(info.get("inCommitTimestamp") or file.modified_ms)
