"""Record file system events below a folder with inotify."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_EVENT_MASKS = {"open": 0x20, "closed": 0x10, "moved": 0x80, "create": 0x100}
_NEW_FOLDER = _EVENT_MASKS["create"] | _EVENT_MASKS["moved"]
_IS_FOLDER = 0x40000000
_HEADER = struct.Struct("iIII")


@dataclass(frozen=True)
class Event:
    """An event and the path of its file relative to the watched folder; `nothing` if none occurred for 0.1 s."""

    what: str
    name: str = ""


class Watch:
    """Records the events below a folder, including new subfolders.

    Parameters
    ----------
    root : Path
    *kinds : str
        ``open``, ``closed`` (by a reader), ``moved`` (renamed to this name), ``create``.
    """

    def __init__(self, root: Path, *kinds: str) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._root, self._kinds = root, kinds
        self._folders: dict[int, Path] = {}
        self._events: deque[Event] = deque()
        root.mkdir(parents=True, exist_ok=True)
        self._add(root, is_new=False)

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)

    def events(self, seconds: float) -> Iterator[Event]:
        """Yield events for a number of seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            while self._events:
                yield self._events.popleft()
            if select.select([self._fd], [], [], 0.1)[0]:
                self._read()
            else:
                yield Event("nothing")

    def pending(self) -> list[Event]:
        """Return the events since the last call, without waiting."""
        while select.select([self._fd], [], [], 0)[0]:
            self._read()
        found = list(self._events)
        self._events.clear()
        return found

    def _read(self) -> None:
        data, at = os.read(self._fd, 1 << 16), 0
        while at < len(data):
            number, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            path = self._folders[number] / name if number in self._folders else None
            if path and mask & _IS_FOLDER:
                if mask & _NEW_FOLDER:
                    self._add(path, is_new=True)
            elif path:
                self._record(path, mask)

    def _add(self, folder: Path, *, is_new: bool) -> None:
        mask = sum(_EVENT_MASKS[kind] for kind in self._kinds) | _NEW_FOLDER
        number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
        if number < 0:  # already deleted
            return
        self._folders[number] = folder
        for entry in folder.iterdir():
            if entry.is_dir():
                self._add(entry, is_new=is_new)
            elif is_new:  # created before the watch was added
                self._record(entry, _EVENT_MASKS["create"])

    def _record(self, path: Path, mask: int) -> None:
        name = str(path.relative_to(self._root))
        self._events.extend(Event(kind, name) for kind in self._kinds if mask & _EVENT_MASKS[kind])
