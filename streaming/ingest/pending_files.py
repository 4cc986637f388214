"""Files to check again later because they may still be incomplete."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from streaming.images.fetch import is_recently_modified
from streaming.storage.interface import StoredFile


class PendingFiles:
    """Recently modified files, and files that changed while they were read.

    Parameters
    ----------
    settle : float
        Seconds after which a file is checked again.
    """

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._due_at: dict[str, float] = {}  # by path, seconds since 1970
        self._changing: set[str] = set()  # the subset that has no row yet

    def __bool__(self) -> bool:
        return bool(self._due_at)

    @property
    def without_row(self) -> int:
        """Number of pending files that are in neither table."""
        return len(self._changing)

    def add_recently_modified(self, files: Iterable[StoredFile]) -> None:
        """Add those of the files whose last modification is less than `settle` seconds ago."""
        now = time.time()
        for file in files:
            if is_recently_modified(file, self._settle):
                # The clock of a file server may be ahead.
                modified = min(file.modified_ms / 1000, now)
                self._due_at[file.path] = modified + self._settle

    def add_changing(self, paths: Collection[str]) -> None:
        """Add files that changed while they were read."""
        self._changing |= set(paths)
        self._due_at |= dict.fromkeys(paths, time.time() + self._settle)

    def pop_due(self) -> list[str]:
        """Remove the paths that are due, and return them."""
        now = time.time()
        due = [path for path, due_at in self._due_at.items() if due_at <= now]
        for path in due:
            del self._due_at[path]
            self._changing.discard(path)
        return due
