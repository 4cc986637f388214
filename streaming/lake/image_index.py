"""Index of the images in a lake, as hashes in the driver's memory: a new name needs no table lookup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.delta.reader import open_table, query
from streaming.delta.tables import is_table
from streaming.lake.layout import Lake
from streaming.storage.interface import StoredFile
from streaming.storage.retry import retry_transient

_CHUNK = 10_000
_RECENT = 200_000
_COLUMNS = "path, length, CAST(modification_time AS BIGINT) AS modified_us"

Hashes = NDArray[np.uint64]


class ImageIndex:
    """Every image of a lake as two numbers: its path's hash, and that of its path, length and time.

    16 bytes an image. A path whose hash is not among them is new for certain.

    Parameters
    ----------
    paths, states : ndarray of shape (n,), uint64
        Hashes of the images' paths, and of their states, in the same order.
    """

    def __init__(self, paths: Hashes, states: Hashes) -> None:
        self._keep(paths, states)
        self._recent: dict[int, int | None] = {}  # None: it has no row any more
        self.forced_paths: set[str] = set()

    @classmethod
    def load(cls, lake: Lake) -> ImageIndex:
        """Read both tables, with delta-rs: this goes on while Spark starts, and takes no time of its tasks.

        Raises
        ------
        TransientError
            When S3 did not hand them out for longer than patience lasts.
        """
        return retry_transient(lambda: cls._load(lake))

    @classmethod
    def _load(cls, lake: Lake) -> ImageIndex:
        parts = [part for table in (lake.features, lake.quarantine) for part in _read(table)]
        paths, states = zip(*parts, strict=True) if parts else ([], [])
        none = np.empty(0, np.uint64)
        return cls(np.concatenate([none, *paths]), np.concatenate([none, *states]))

    @property
    def has_duplicates(self) -> bool:
        """Whether a path stands in both tables, as when a move between them was cut in two."""
        return bool((self._paths[1:] == self._paths[:-1]).any())

    def new_or_changed(self, listed: Iterable[StoredFile]) -> Iterator[StoredFile]:
        """The files of a listing that are in neither table, or there with another length or time."""
        listing = iter(listed)
        while files := list(islice(listing, _CHUNK)):
            paths, states = _hash_files(files)
            known = self._states_of(paths)
            for file, state, held in zip(files, states.tolist(), known, strict=True):
                if state != held:
                    yield file

    def filter_known(self, files: Sequence[StoredFile]) -> list[StoredFile]:
        """Those whose path the lake may hold, in whatever state; the others are new."""
        known = self._states_of(_hash_files(files)[0])
        return [file for file, state in zip(files, known, strict=True) if state is not None]

    def add(self, files: Sequence[StoredFile]) -> None:
        """Files whose rows have been written, in place of any earlier state of theirs."""
        paths, states = _hash_files(files)
        self._recent.update(zip(paths.tolist(), states.tolist(), strict=True))
        if len(self._recent) > _RECENT:
            recent = [pair for pair in self._recent.items() if pair[1] is not None]
            paths, states = np.array(recent, np.uint64).reshape(-1, 2).T
            kept = ~np.isin(self._paths, np.array(list(self._recent), np.uint64))
            self._keep(
                np.concatenate([self._paths[kept], paths]),
                np.concatenate([self._known_states[kept], states]),
            )
            self._recent = {}

    def remove(self, paths: Sequence[str]) -> None:
        """Paths whose rows have been deleted: such an image counts as new."""
        self._recent.update(dict.fromkeys(hash_paths(paths).tolist()))

    @contextmanager
    def force_reprocess(self, files: Iterable[StoredFile]) -> Iterator[None]:
        """While the block runs, what the tables say of these files is not believed: they are taken once more."""
        self.forced_paths = {file.path for file in files}
        try:
            yield
        finally:
            self.forced_paths = set()

    def _keep(self, paths: Hashes, states: Hashes) -> None:
        order = np.argsort(paths)
        self._paths, self._known_states = paths[order], states[order]

    def _states_of(self, paths: Hashes) -> Iterator[int | None]:
        """The known state of each path's hash."""
        positions = np.searchsorted(self._paths, paths).tolist()
        for path, position in zip(paths.tolist(), positions, strict=True):
            if path in self._recent:
                yield self._recent[path]
            elif position < len(self._paths) and int(self._paths[position]) == path:
                yield int(self._known_states[position])
            else:
                yield None


def _read(location: str) -> Iterator[tuple[Hashes, Hashes]]:
    """The hashes of a table's rows, batch by batch; nothing where there is no table."""
    if not is_table(location):
        return
    for batch in query(open_table(location), _COLUMNS):
        path, length, modified_us = (batch.column(i) for i in range(3))
        yield _hash(
            path.cast(pa.binary()).to_numpy(zero_copy_only=False),
            length.to_numpy(),
            modified_us.to_numpy() // 1000,
        )


def hash_paths(paths: Sequence[str]) -> Hashes:
    """Hashes of paths as `ImageIndex` has them, of shape (n,)."""
    return _hash_files([StoredFile(path, 0, 0) for path in paths])[0]


def hash_states(files: Sequence[StoredFile]) -> Hashes:
    """Hashes of paths, lengths and times, of shape (n,)."""
    return _hash_files(files)[1]


def _hash_files(files: Sequence[StoredFile]) -> tuple[Hashes, Hashes]:
    paths = np.empty(len(files), object)  # a name need not be UTF-8
    paths[:] = [file.path.encode("utf-8", "surrogateescape") for file in files]
    sizes = np.array([(file.length, file.modified_ms) for file in files], np.int64).reshape(-1, 2)
    return _hash(paths, sizes[:, 0], sizes[:, 1])


def _hash(
    paths: NDArray[Any], lengths: NDArray[Any], modified_ms: NDArray[Any]
) -> tuple[Hashes, Hashes]:
    """Hashes of 64 bits: among 10 million images, one in 10^12 changed ones would pass for unchanged."""
    of_paths: Hashes = pd.util.hash_array(paths, categorize=False)
    lengths, modified_ms = (np.ascontiguousarray(of, np.int64) for of in (lengths, modified_ms))
    sizes = pd.util.hash_array(lengths) * np.uint64(3) + pd.util.hash_array(modified_ms)
    return of_paths, of_paths + sizes
