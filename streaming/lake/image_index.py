"""Index of the images in a lake, as hashes in the driver's memory: a new name needs no table lookup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.delta.reader import open_table, query
from streaming.delta.tables import is_table
from streaming.lake.layout import Lake
from streaming.storage.interface import StoredFile
from streaming.storage.retry import retry_transient

_CHUNK = 10_000
_RECENT = 200_000
_UNKNOWN_STATE = 0  # reserved; an image has this hash with probability 1e-19
#: SQL for the columns that identify the state of an image in a table; see `file_of_row`.
STATE_COLUMNS = "path, length, CAST(modification_time AS BIGINT) AS modified_us"

Hashes = NDArray[np.uint64]


class ImageIndex:
    """The images of a lake, as two hashes each: of the path, and of path, length and modification time.

    The index takes 16 bytes per image. A path whose hash is not in the index is certainly new. One thread at a time may
    change it, while others read it.

    Parameters
    ----------
    paths, states : ndarray of shape (n,), uint64
        Hashes of the paths and of the states of the images, in the same order.
    """

    def __init__(self, paths: Hashes, states: Hashes) -> None:
        self._snapshot = _Snapshot.of(paths, states)
        self.forced_paths: set[str] = set()

    @classmethod
    def load(cls, lake: Lake) -> ImageIndex:
        """Read both tables with delta-rs, which can run while Spark starts and needs none of its tasks.

        Raises
        ------
        TransientError
            If S3 requests still failed after the retry timeout.
        """
        return retry_transient(lambda: cls._load(lake))

    @classmethod
    def _load(cls, lake: Lake) -> ImageIndex:
        batches = [batch for table in (lake.features, lake.quarantine) for batch in _read(table)]
        paths, states = zip(*batches, strict=True) if batches else ([], [])
        empty = np.empty(0, np.uint64)
        return cls(np.concatenate([empty, *paths]), np.concatenate([empty, *states]))

    @property
    def has_duplicates(self) -> bool:
        """Whether a path is in both tables, which happens if a move between them was interrupted."""
        paths = self._snapshot.paths
        return bool((paths[1:] == paths[:-1]).any())

    def new_or_changed(self, listing: Iterable[StoredFile]) -> Iterator[StoredFile]:
        """Yield the backlog of a listing: the images that are missing or changed, see `backlog`."""
        return (file for file, _ in self.backlog(listing))

    def backlog(self, listing: Iterable[StoredFile]) -> Iterator[tuple[StoredFile, bool]]:
        """Yield the images of a listing that the next run would process, and whether each is in the lake.

        They are missing (in neither table), or changed (there with another length or modification time). All counts
        of waiting images, of backlog and of missing images come from here.
        """
        iterator = iter(listing)
        while files := list(islice(iterator, _CHUNK)):
            paths, states = _hash_files(files)
            known_states = self._states_of(paths)
            for file, state, known in zip(files, states.tolist(), known_states, strict=True):
                if state != known:
                    yield file, known is not None

    def filter_known(self, files: Sequence[StoredFile]) -> list[StoredFile]:
        """Return the files whose path is in the lake, in any state. A hash collision can add a file that is not."""
        states = self._states_of(_hash_files(files)[0])
        return [file for file, state in zip(files, states, strict=True) if state is not None]

    def add(self, files: Sequence[StoredFile]) -> None:
        """Add files whose rows have been written; an earlier state of a path is replaced."""
        paths, states = _hash_files(files)
        self._update(dict(zip(paths.tolist(), states.tolist(), strict=True)))

    def remove(self, paths: Sequence[str]) -> None:
        """Remove paths whose rows have been deleted. These images count as new."""
        self._update(dict.fromkeys(hash_paths(paths).tolist()))

    def invalidate(self, paths: Sequence[str]) -> None:
        """Mark paths whose rows are about to be written or deleted, until `add` or `remove`.

        If the write fails, these images count as changed, and their rows are looked up in the tables.
        """
        self._update(dict.fromkeys(hash_paths(paths).tolist(), _UNKNOWN_STATE))

    @contextmanager
    def force_reprocess(self, files: Iterable[StoredFile]) -> Iterator[None]:
        """Make the micro-batch process these files, even if they are in the tables unchanged, while the block runs."""
        self.forced_paths = {file.path for file in files}
        try:
            yield
        finally:
            self.forced_paths = set()

    def _update(self, changes: Mapping[int, int | None]) -> None:
        self._snapshot = self._snapshot.updated(changes)

    def _states_of(self, paths: Hashes) -> Iterator[int | None]:
        """Yield the state hash for each path hash; None if the path is not in the index."""
        snapshot = self._snapshot
        positions = np.searchsorted(snapshot.paths, paths).tolist()
        for path, position in zip(paths.tolist(), positions, strict=True):
            if path in snapshot.recent:
                yield snapshot.recent[path]
            elif position < len(snapshot.paths) and int(snapshot.paths[position]) == path:
                yield int(snapshot.states[position])
            else:
                yield None


@dataclass(frozen=True)
class _Snapshot:
    """The content of an index, which is replaced as a whole.

    Attributes
    ----------
    paths, states : ndarray of shape (n,), uint64
        Sorted by path.
    recent : mapping
        Later changes: the state by path, None if the row was deleted.
    """

    paths: Hashes
    states: Hashes
    recent: Mapping[int, int | None]

    @classmethod
    def of(cls, paths: Hashes, states: Hashes) -> _Snapshot:
        """Return a snapshot of hashes in any order."""
        order = np.argsort(paths)
        return cls(paths[order], states[order], {})

    def updated(self, changes: Mapping[int, int | None]) -> _Snapshot:
        """Return the snapshot with later changes, merged into the arrays if there are many."""
        recent = {**self.recent, **changes}
        if len(recent) <= _RECENT:
            return _Snapshot(self.paths, self.states, recent)
        added = [pair for pair in recent.items() if pair[1] is not None]
        paths, states = np.array(added, np.uint64).reshape(-1, 2).T
        kept = ~np.isin(self.paths, np.array(list(recent), np.uint64))
        return _Snapshot.of(
            np.concatenate([self.paths[kept], paths]), np.concatenate([self.states[kept], states])
        )


def _read(location: str) -> Iterator[tuple[Hashes, Hashes]]:
    """Yield the hashes of a table's rows, batch by batch; nothing if the table does not exist."""
    if not is_table(location):
        return
    for batch in query(open_table(location), STATE_COLUMNS):
        path, length, modified_us = (batch.column(i) for i in range(3))
        yield _hash(
            path.cast(pa.binary()).to_numpy(zero_copy_only=False),
            length.to_numpy(),
            modified_us.to_numpy() // 1000,
        )


def file_of_row(row: Mapping[str, Any]) -> StoredFile:
    """Return the state of an image from a row with `STATE_COLUMNS`."""
    return StoredFile(row["path"], row["length"], row["modified_us"] // 1000)


def hash_paths(paths: Sequence[str]) -> Hashes:
    """Return the hashes of paths as in `ImageIndex`, of shape (n,)."""
    return _hash_files([StoredFile(path, 0, 0) for path in paths])[0]


def hash_states(files: Sequence[StoredFile]) -> Hashes:
    """Return the hashes of paths, lengths and modification times, of shape (n,)."""
    return _hash_files(files)[1]


def contains_hashes(known: Hashes, hashes: Hashes) -> NDArray[np.bool_]:
    """Return for each hash whether it is in the sorted array `known`, by a binary search: O(log n) per hash."""
    if not known.size:
        return np.zeros(hashes.shape, np.bool_)
    positions = np.searchsorted(known, hashes)
    found: NDArray[np.bool_] = known[np.minimum(positions, known.size - 1)] == hashes
    return found


def _hash_files(files: Sequence[StoredFile]) -> tuple[Hashes, Hashes]:
    paths = np.empty(len(files), object)
    paths[:] = [file.path.encode() for file in files]
    sizes = np.array([(file.length, file.modified_ms) for file in files], np.int64).reshape(-1, 2)
    return _hash(paths, sizes[:, 0], sizes[:, 1])


def _hash(
    paths: NDArray[Any], lengths: NDArray[Any], modified_ms: NDArray[Any]
) -> tuple[Hashes, Hashes]:
    """Return 64-bit hashes: with 10 million images, one changed image in 10^12 would not be detected."""
    import pandas as pd  # takes 0.3 s, and commands on an empty or missing lake do not need it

    path_hashes: Hashes = pd.util.hash_array(paths, categorize=False)
    lengths, modified_ms = (np.ascontiguousarray(x, np.int64) for x in (lengths, modified_ms))
    sizes = pd.util.hash_array(lengths) * np.uint64(3) + pd.util.hash_array(modified_ms)
    return path_hashes, path_hashes + sizes
