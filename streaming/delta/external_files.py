"""Reject a table that leads its readers to files outside of its folder, before Spark or delta-rs opens it.

Both readers follow absolute paths, URIs and ``..`` in the log, and symbolic links, so that a person who can write into
the lake could have any table, deletion vector or checkpoint read. The log is checked as it is stored, because delta-rs
returns neither deletion vectors nor sidecar files. Only the files are read from which a reader reconstructs the
version, each once per process: the latest checkpoint and the commits after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from streaming.delta.log import (
    EXTERNAL_FILES,
    MAX_CONCURRENT_READS,
    is_external_permitted,
    last_checkpoint,
    list_log,
    parse_actions,
    read_log_file,
)
from streaming.errors import LakeError, first_line
from streaming.storage.interface import StoredFile, is_below, is_s3, local_path

_REMEDY = f"restore the log, or set {EXTERNAL_FILES}=1 if this is a shallow clone of a table that you trust"
# An absolute path, a URI, or a part "..", also percent-encoded; URL parsers ignore control characters.
_OUTSIDE = re.compile(
    r"^(?:[A-Za-z][A-Za-z0-9+.-]*:|/|%2f|\\)|(?:^|/|%2f|\\)(?:\.|%2e){2}(?:$|/|%2f|\\)|^ |[\x00-\x1f]",
    re.IGNORECASE,
)
# A commit, or several commits in one file.
_COMMIT = re.compile(r"/_delta_log/(?:(\d{20})|\d{20}\.(\d{20})\.compacted)\.json$")
_CHECKPOINT = re.compile(r"/_delta_log/(\d{20})\.checkpoint(?:\.[\w.-]+)?\.(?:parquet|json)$")
# Actions that name a file.
_FILE_ACTIONS = ("add", "remove", "cdc", "sidecar")
# The name of a deletion vector ends with an encoded UUID of this length; characters before it are a folder.
_ENCODED_UUID = 20
# Columns of a checkpoint from which a reader opens files.
_CHECKPOINT_COLUMNS = {
    "add.path",
    "add.deletionvector.storagetype",
    "add.deletionvector.pathorinlinedv",
    "sidecar.path",
}
# Files of the log that were checked in this process.
_CHECKED_FILES = 4096


def check_files(location: str, version: int | None = None) -> None:
    """Raise LakeError if a version of a table, by default the latest, leads its readers out of the table's folder.

    Parameters
    ----------
    location : str
        Normalized URI; nothing is checked if there is no table.
    version : int, optional
    """
    if not is_external_permitted():
        check_links(location)
        _check_log(_segment(location, version))


def check_changes(location: str, first: int, last: int) -> None:
    """Raise LakeError if a commit names a file outside of the table's folder; for readers of the Change Data Feed."""
    if not is_external_permitted():
        _check_log(
            file
            for file in list_log(location)
            if (match := _COMMIT.search(file.path)) and first <= int(match[1] or match[2]) <= last
        )


def _segment(location: str, version: int | None) -> list[StoredFile]:
    """Return the files from which a version is reconstructed.

    They start at the latest checkpoint that is one Parquet file: whether other checkpoints are complete is decided by
    the reader, so that the commits before them are checked too.

    Raises
    ------
    LakeError
        If a commit is missing between others: delta-rs waits forever if the gap is large.
    """
    for _ in range(2):  # two commits that are written during a listing can look like a gap
        checkpoints, commits = _select(_list_from_checkpoint(location, version), version)
        numbers = sorted(number for number, file in commits if "compacted" not in file.path)
        gaps = [(a + 1, b) for a, b in pairwise(numbers) if b != a + 1]
        if not gaps:
            return [*checkpoints, *(file for _, file in commits)]
    missing, present = gaps[0]
    raise LakeError(
        f"{location}: its log has no version {missing}, but version {present}: restore the missing versions, or delete "
        "the file of the later one if Pomona did not write it"
    )


def _list_from_checkpoint(location: str, version: int | None) -> Iterable[StoredFile]:
    """Return the files of a log from its last checkpoint on, or all of them if the version is older.

    On S3, a page of a listing has 1,000 files, and the log keeps the commits of ten years.
    """
    first = last_checkpoint(location)
    if first and (version is None or first <= version):
        files = list(list_log(location, first))
        if any(file.path.endswith(f"/{first:020}.checkpoint.parquet") for file in files):
            return files
    return list_log(location)


def _select(
    files: Iterable[StoredFile], version: int | None
) -> tuple[list[StoredFile], list[tuple[int, StoredFile]]]:
    """Return the checkpoints of a version, and the commits that are needed in addition with their numbers."""
    commits, checkpoints = [], []
    start = -1
    for file in files:
        if match := _COMMIT.search(file.path):
            commits.append((int(match[1] or match[2]), file))
        elif match := _CHECKPOINT.search(file.path):
            number = int(match[1])
            if version is None or number <= version:
                checkpoints.append((number, file))
                if file.path.endswith(".checkpoint.parquet"):
                    start = max(start, number)
    # Compacted commits of later versions are harmless.
    needed = [
        (number, file)
        for number, file in commits
        if number > start and (version is None or number <= version or "compacted" in file.path)
    ]
    return [file for number, file in checkpoints if number >= start], needed


def _check_log(files: Iterable[StoredFile]) -> None:
    found = list(files)
    if not found or not is_s3(found[0].path):  # threads would take twice as long
        for file in found:
            _check_file(file)
        return
    with ThreadPoolExecutor(MAX_CONCURRENT_READS) as pool:
        list(pool.map(_check_file, found))


@lru_cache(_CHECKED_FILES)
def _check_file(file: StoredFile) -> None:
    """Raise LakeError if a file of a log names a file outside of the table."""
    if not (_COMMIT.search(file.path) or _CHECKPOINT.search(file.path)):
        return
    actions: Iterable[dict[str, Any]] = (
        parse_actions(file.path, _read(file.path))
        if file.path.endswith(".json")
        else _read_checkpoint(file.path)
    )
    for action in actions:
        for name in _files_of(action):
            if _OUTSIDE.search(name):
                table = file.path.partition("/_delta_log/")[0]
                raise LakeError(
                    f"{table}: its log names the file {name[:200]!r}, which is outside of the table: {_REMEDY}"
                )


def _read(path: str) -> bytes:
    try:
        return read_log_file(path)
    except FileNotFoundError:  # deleted by log cleanup in the meantime
        return b""


def _files_of(action: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of files in an action; upper and lower case are not distinguished, as in Spark."""
    for kind, value in action.items():
        if kind.lower() not in _FILE_ACTIONS or not isinstance(value, dict):
            continue
        for key, name in value.items():
            if key.lower() == "path" and isinstance(name, str):
                yield name
            elif key.lower() == "deletionvector" and isinstance(name, dict):
                yield from _files_of_deletion_vector({k.lower(): v for k, v in name.items()})


def _files_of_deletion_vector(vector: Mapping[str, Any]) -> Iterator[str]:
    """Yield the name of the file of a deletion vector, or the folder if the name is random."""
    storage_type, name = vector.get("storagetype"), vector.get("pathorinlinedv")
    if isinstance(name, str) and storage_type != "i":
        yield name[:-_ENCODED_UUID] if storage_type == "u" else name


def _read_checkpoint(path: str) -> Iterator[dict[str, Any]]:
    """Yield the actions of a checkpoint in Parquet, with the columns that name files."""
    try:
        with pyarrow.parquet.ParquetFile(BytesIO(_read(path))) as file:
            leaves = (file.schema.column(i).path for i in range(len(file.schema.names)))
            columns = [leaf for leaf in leaves if leaf.lower() in _CHECKPOINT_COLUMNS]
            for batch in file.iter_batches(columns=columns):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise LakeError(
            f"{path}: damaged ({first_line(error)}): restore this file, or delete it if the commits before "
            "it are in the log"
        ) from error


def check_links(folder: str) -> None:
    """Raise LakeError if a folder contains a link that leads out of it or nowhere, or a special file; opens nothing.

    A reader of a FIFO would wait forever. 1,000 files take 1 ms.
    """
    if is_s3(folder):
        return
    root = os.path.realpath(local_path(folder))
    pending = [root]
    while pending:
        try:
            with os.scandir(pending.pop()) as opened:
                entries = list(opened)
        except OSError:  # missing, or not readable
            continue
        for entry in entries:
            if entry.is_symlink():
                if not is_below(f"{os.path.realpath(entry.path)}/", root):
                    raise LakeError(
                        f"{entry.path}: is a link that leads out of {folder}: replace it by what it points to, or set "
                        f"{EXTERNAL_FILES}=1 if you trust everyone who can write there"
                    )
                if not os.path.exists(entry.path):  # delta-rs does not name it
                    raise LakeError(
                        f"{entry.path}: is a link to a file that does not exist, or to itself: delete it"
                    )
            elif entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                raise LakeError(f"{entry.path}: is not a regular file: delete it")
