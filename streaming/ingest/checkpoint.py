"""Recover from a streaming checkpoint that cannot be used: start a new one, and keep a damaged one for inspection."""

from __future__ import annotations

import io
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Set
from datetime import UTC, datetime
from pathlib import Path

from streaming.lake.layout import Lake
from streaming.storage.open import open_storage
from streaming.storage.range_reader import open_ranges

log = logging.getLogger(__name__)

_ENTRY = re.compile(r"(?P<log>offsets|commits|sources/\d+)/(?P<number>\d+)(?P<compact>\.compact)?")
# Hadoop's message if a file does not match its checksum.
_CHECKSUM = re.compile(r"Checksum error: (?:file:)?(\S+)")
# Spark's messages for damage that the files do not show; each would fail every later run.
_MESSAGES = {
    # The log consists of an incomplete first entry.
    "CHECKPOINT_LOCATION_NOT_EMPTY": "its first entry is incomplete",
    # The checksum file of an entry existed before the entry. There is no other writer: this process owns the lease.
    "Multiple streaming queries are concurrently using": "an entry could not be renamed into place",
    # The offsets of a batch name an entry that is not in the log of its source.
    r"\bbatch \d+ doesn't exist": "the log of the source lacks an entry",
}
# Bytes of an entry that are parsed in full. With 10 million files, a compact entry of a source has 1 GB.
_MAX_PARSED = 16 * 2**20
_END_BYTES = 64 * 2**10
# Spark's message if the log of its source names a manifest in another folder: the lake was moved or copied.
_MOVED = "Wrong basePath"


def find_damage(lake: Lake, error: BaseException) -> str | None:
    """Describe the damage to the checkpoint of a query that failed.

    Spark's messages differ between files and between versions, so the files are read: ``metadata``, and the
    numbered entries of each log, which are a line with their version and then lines of JSON.

    Parameters
    ----------
    lake : Lake
    error : BaseException
        The error that ended the query.

    Returns
    -------
    str or None
        None if the checkpoint did not cause the error.
    """
    storage = open_storage(lake.root)
    prefix = f"{lake.checkpoint}/"
    lengths = {f.path.removeprefix(prefix): f.length for f in storage.list(lake.checkpoint)}
    names = lengths.keys()
    entries = {name: found for name in names if (found := _ENTRY.fullmatch(name))}
    if entries and "metadata" not in names:
        return "its metadata is missing"
    for name in sorted(entries.keys() | names & {"metadata"}):
        large = lengths[name] > _MAX_PARSED
        content = (_read_ends if large else storage.read)(prefix + name, lake.root)
        if not _is_complete(name, content):
            return f"{name} is incomplete"
    missing = _missing(entries.values(), names)
    if missing:
        return f"{missing} is missing"
    for pattern, damage in _MESSAGES.items():
        if re.search(pattern, str(error)):
            return damage
    checksum = _CHECKSUM.search(str(error))
    return f"{checksum[1]} does not match its checksum" if checksum else None


def discard_unusable_checkpoint(lake: Lake, error: BaseException) -> bool:
    """Rename a damaged checkpoint, with a warning, or delete that of a lake that was moved.

    The next query starts a new one with a new query id. No data is lost: the source is listed again, and images that
    the tables hold unchanged are skipped.

    Parameters
    ----------
    lake : Lake
    error : BaseException
        The error that ended the query.

    Returns
    -------
    bool
        True if the checkpoint caused the error.
    """
    if _MOVED in str(error):
        remove_checkpoint(lake)
        log.info(
            "a new checkpoint is started: %s names the former path of the lake", lake.checkpoint
        )
        return True
    damage = find_damage(lake, error)
    if damage is None:
        return False
    backup = f"{lake.checkpoint}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    open_storage(lake.root).move_tree(lake.checkpoint, backup)
    log.warning(
        "the checkpoint %s is damaged (%s): moved to %s, and a new one was started; no row was lost or duplicated",
        lake.checkpoint,
        damage,
        backup,
    )
    return True


def remove_checkpoint(lake: Lake) -> None:
    """Delete the checkpoint, so that the next query starts a new one with a new query id.

    It is renamed first: a checkpoint of which a part is missing would be reported as damaged.
    """
    storage, removed = open_storage(lake.root), f"{lake.checkpoint}.removed"
    storage.delete_tree(removed)
    storage.move_tree(lake.checkpoint, removed)
    storage.delete_tree(removed)


def _read_ends(path: str, within: str) -> bytes:
    """Return the first line of a file and its last complete lines: those of a truncated file are not JSON."""
    open_storage(path).check_readable(path, within)
    opened = open_ranges(path)
    with opened.open("rb") if isinstance(opened, Path) else opened as file:
        first, _, _ = (file.read(_END_BYTES) or b"").partition(b"\n")
        file.seek(-_END_BYTES, io.SEEK_END)
        _, _, last = (file.read(_END_BYTES) or b"").partition(b"\n")
    return first + b"\n" + last


def _missing(entries: Iterable[re.Match[str]], names: Set[str]) -> str | None:
    """Return the first entry that is missing: before later entries, or beside its checksum file."""
    logs: dict[str, set[int]] = defaultdict(set)
    since: dict[str, int] = defaultdict(int)  # a compact entry replaces all before it
    for found in entries:
        log_name, number = found["log"], int(found["number"])
        logs[log_name].add(number)
        if found["compact"]:
            since[log_name] = max(since[log_name], number)
    for log_name in ("offsets", *logs):
        expected = logs[log_name]
        if log_name == "offsets":
            expected = expected | logs["commits"]
        first = since[log_name] if log_name.startswith("sources") else min(expected, default=0)
        missing = set(range(first, max(expected, default=-1) + 1)) - logs[log_name]
        if missing:
            return f"{log_name}/{min(missing)}"
    for name in sorted(names):
        entry = re.sub(r"\.(\d+(?:\.compact)?)\.crc$", r"\1", name)
        if entry not in names:
            return entry
    return None


def _is_complete(name: str, content: bytes) -> bool:
    """Return whether a checkpoint file is complete; ``-`` stands for a source without an offset."""
    version, *lines = content.split(b"\n") if name != "metadata" else (b"v1", content)
    if not re.fullmatch(rb"v\d+", version) or (not lines and not name.startswith("sources")):
        return False
    try:
        return all(line == b"-" or json.loads(line) is not None for line in lines)
    except (ValueError, RecursionError):
        return False
