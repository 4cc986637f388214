"""Recover from a damaged streaming checkpoint: set it aside for inspection and start a new one."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from streaming.lake.layout import Lake
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

_ENTRY = re.compile(r"(?P<log>offsets|commits|sources/\d+)/(?P<number>\d+)(?P<compact>\.compact)?")
# What Hadoop says where a file is not what was noted of it.
_CHECKSUM = re.compile(r"Checksum error: (?:file:)?(\S+)")
# What Spark says where only it can see the damage; each would end every later run.
_TOLD = {
    # A log that holds no entry, only a part of its first.
    "CHECKPOINT_LOCATION_NOT_EMPTY": "its first entry was not finished",
    # An entry's checksum stood there before it: nobody else writes, since this process holds the lake.
    "Multiple streaming queries are concurrently using": "an entry could not be put in place",
    # What the plan of a batch names is in no log of its source.
    r"\bbatch \d+ doesn't exist": "the log of the source lacks an entry",
}


def find_damage(lake: Lake, error: BaseException) -> str | None:
    """What is wrong with the checkpoint of a query that ended by itself.

    Spark's own words for it differ from file to file and from version to version, so the files are looked at:
    ``metadata``, and the numbered entries of each log, a line that tells their version and then JSON.

    Parameters
    ----------
    lake : Lake
    error : BaseException
        What ended the query.

    Returns
    -------
    str or None
        None where the checkpoint is not to blame.
    """
    storage = open_storage(lake.root)
    prefix = f"{lake.checkpoint}/"
    names = {file.path.removeprefix(prefix) for file in storage.list(lake.checkpoint)}
    entries = {name: found for name in names if (found := _ENTRY.fullmatch(name))}
    if entries and "metadata" not in names:
        return "its metadata is missing"
    for name in sorted(entries.keys() | names & {"metadata"}):
        if not _is_whole(name, storage.read(prefix + name)):
            return f"{name} is not whole"
    missing = _missing(entries.values(), names)
    if missing:
        return f"{missing} is missing"
    for words, damage in _TOLD.items():
        if re.search(words, str(error)):
            return damage
    checksum = _CHECKSUM.search(str(error))
    return f"{checksum[1]} is not as it was written" if checksum else None


def set_aside_if_damaged(lake: Lake, error: BaseException) -> bool:
    """Move a damaged checkpoint out of the way, with a warning; the next query begins one, with an id of its own.

    Nothing is lost with it: the source is listed again, and what the tables hold is left alone.

    Parameters
    ----------
    lake : Lake
    error : BaseException
        What ended the query.

    Returns
    -------
    bool
        Whether it was damaged.
    """
    damage = find_damage(lake, error)
    if damage is None:
        return False
    kept = f"{lake.checkpoint}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    open_storage(lake.root).move_tree(lake.checkpoint, kept)
    log.warning(
        "the checkpoint %s is damaged (%s): it is kept as %s, and a new one begun; no row is lost or doubled",
        lake.checkpoint,
        damage,
        kept,
    )
    return True


def _missing(entries: Iterable[re.Match[str]], names: set[str]) -> str | None:
    """The first entry that must have been there: before others, or beside its checksum."""
    logs: dict[str, set[int]] = defaultdict(set)
    since: dict[str, int] = defaultdict(int)  # a compact entry stands for all before it
    for found in entries:
        of, number = found["log"], int(found["number"])
        logs[of].add(number)
        if found["compact"]:
            since[of] = max(since[of], number)
    for of in ("offsets", *logs):
        planned = logs[of] | logs["commits"] if of == "offsets" else logs[of]
        first = since[of] if of.startswith("sources") else min(planned, default=0)
        gone = set(range(first, max(planned, default=-1) + 1)) - logs[of]
        if gone:
            return f"{of}/{min(gone)}"
    for name in sorted(names):
        whole = re.sub(r"\.(\d+(?:\.compact)?)\.crc$", r"\1", name)
        if whole not in names:
            return whole
    return None


def _is_whole(name: str, content: bytes) -> bool:
    """Whether a file of the checkpoint ends where it should; ``-`` stands for a source without an offset."""
    version, *lines = content.split(b"\n") if name != "metadata" else (b"v1", content)
    if not re.fullmatch(rb"v\d+", version) or (not lines and not name.startswith("sources")):
        return False
    try:
        return all(line == b"-" or json.loads(line) is not None for line in lines)
    except ValueError:
        return False
