"""List the new files of local folders: only folders that changed since their last listing are listed again.

A folder changes if an entry is created, renamed or deleted in it. The file system then sets both its modification time
and its change time; programs such as rsync set back the former only. Files that are written to, or replaced under the
same name, do not count as new.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streaming.storage.interface import StoredFile, UnlistedCallback
from streaming.storage.local import Folder, ListingRules, list_folder, log_unlisted, root_folder

#: Seconds after which a changed folder is listed once more: a later change can have the same time. FAT stores the
#: time with a resolution of 2 seconds, most file systems with one of milliseconds.
TIME_RESOLUTION = 2.5

_Names = NDArray[np.int64]  # hashes
_NO_NAMES: _Names = np.empty(0, np.int64)
_Stamp = tuple[int, int, int, int]  # device, inode, modification time, change time


@dataclass(slots=True)
class _ListedFolder:
    """What is known of a folder since its last listing."""

    folder: Folder
    stamp: _Stamp | None
    list_again_at: float  # monotonic
    names: _Names = field(default_factory=lambda: _NO_NAMES)  # of its files
    folders: set[str] = field(default_factory=set)  # paths
    complete: bool = False  # False if the folder could not be listed


class FolderChanges:
    """Finds the files that are new since the last listing below a folder, with one `stat` per unchanged folder.

    It keeps 8 bytes per file in memory.

    Parameters
    ----------
    prefix : str
        URI of the folder.
    follow_outside : bool
        Follow links that lead out of it.
    clock : callable
        Returns seconds; monotonic.
    """

    def __init__(
        self,
        prefix: str,
        *,
        follow_outside: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix, self._follow_outside, self._clock = prefix, follow_outside, clock
        self._folders: dict[str, _ListedFolder] = {}  # each after the folder that contains it

    def list_all(self, on_unlisted: UnlistedCallback | None = None) -> Iterator[StoredFile]:
        """Yield all files, like `LocalStorage.list`; the iterator must be exhausted."""
        self._folders = {}
        yield from self._list(self._add(root_folder(self._prefix)), self._rules(on_unlisted))

    def list_new(self, on_unlisted: UnlistedCallback | None = None) -> Iterator[StoredFile]:
        """Yield the files that are new since the last call; the iterator must be exhausted.

        A file that was deleted, and was missing in a listing of its folder, is new if it returns. If a folder is
        replaced by another one, all its files are new.
        """
        rules = self._rules(on_unlisted)
        for path in list(self._folders):
            listed = self._folders.get(path)  # None: removed with the folder above it
            if listed and self._is_due(listed):
                yield from self._list(listed, rules)

    def _rules(self, on_unlisted: UnlistedCallback | None) -> ListingRules:
        callback = on_unlisted or log_unlisted
        return ListingRules.below(self._prefix, callback, follow_outside=self._follow_outside)

    def _add(self, folder: Folder) -> _ListedFolder:
        added = _ListedFolder(folder, _stamp(folder.path), self._clock() + TIME_RESOLUTION)
        self._folders[folder.path] = added
        return added

    def _is_due(self, listed: _ListedFolder) -> bool:
        """Return whether a folder must be listed, and remember its times as of now."""
        stamp = _stamp(listed.folder.path)
        if stamp is None:  # removed, or on a file system that is not mounted at the moment
            return False
        if stamp != listed.stamp:
            if listed.stamp is None or stamp[:2] != listed.stamp[:2]:
                listed.names = _NO_NAMES
            listed.stamp = stamp
            listed.list_again_at = self._clock() + TIME_RESOLUTION
            return True
        if self._clock() >= listed.list_again_at:
            listed.list_again_at = math.inf
            return True
        return not listed.complete

    def _list(self, listed: _ListedFolder, rules: ListingRules) -> Iterator[StoredFile]:
        """List a folder and the folders that are new in it; yield the files that are new."""
        pending = [listed]
        while pending:
            listed = pending.pop()
            names, folders = _NameFilter(listed.names), set[str]()
            for name, found in list_folder(listed.folder, rules, names.select):
                if isinstance(found, StoredFile):
                    names.add(name)
                    yield found
                    continue
                folders.add(found.path)
                if known := self._folders.get(found.path):
                    known.folder = found
                else:
                    pending.append(self._add(found))
            listed.complete = names.is_complete
            if listed.complete:
                for path in listed.folders - folders:
                    self._remove(path)
                listed.folders, listed.names = folders, names.current()

    def _remove(self, path: str) -> None:
        pending = [path]
        while pending:
            if removed := self._folders.pop(pending.pop(), None):
                pending.extend(removed.folders)


class _NameFilter:
    """Selects the entries of a folder that are no known files, and collects the names of its files."""

    def __init__(self, known: _Names) -> None:
        self.is_complete = False
        self._known, self._kept = known, _NO_NAMES
        self._added: list[int] = []

    def select(self, entries: list[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        """Yield folders, and the entries whose names are not known."""
        names = np.fromiter((hash(entry.name) for entry in entries), np.int64, len(entries))
        is_known = np.isin(names, self._known)
        self._kept = names[is_known]
        for entry, known in zip(entries, is_known.tolist(), strict=True):
            if not known or entry.is_dir(follow_symlinks=False):
                yield entry
        self.is_complete = True

    def add(self, name: str) -> None:
        """Add the name of a file."""
        self._added.append(hash(name))

    def current(self) -> _Names:
        """Return the names of all files of the folder."""
        return np.concatenate([self._kept, np.array(self._added, np.int64)])


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
