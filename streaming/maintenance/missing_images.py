"""Find rows whose source image was deleted.

A failed, empty or implausible listing never causes deletions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.counts import format_count
from streaming.delta.reader import open_table, query
from streaming.delta.tables import is_table
from streaming.featurize.stopping import StopRequested
from streaming.lake.image_index import Hashes, contains_hashes, hash_paths, hash_states
from streaming.lake.layout import Lake
from streaming.storage.interface import StoredFile
from streaming.storage.open import open_storage

#: Largest share of a source's rows that may be removed at once, by default.
DEFAULT_REMOVE_LIMIT = 0.5
_CHUNK = 10_000
_THREADS = 16


class ListingSnapshot:
    """The images of a listing, as hashes of 16 bytes per image."""

    def __init__(self) -> None:
        self.count = 0
        self._paths: list[Hashes] = [np.empty(0, np.uint64)]
        self._states: list[Hashes] = [np.empty(0, np.uint64)]

    def record(self, listing: Iterable[StoredFile]) -> Iterator[StoredFile]:
        """Yield the files of a listing, and keep their hashes."""
        chunk: list[StoredFile] = []
        for file in listing:
            chunk.append(file)
            if len(chunk) == _CHUNK:
                self._keep(chunk)
                chunk = []
            yield file
        self._keep(chunk)

    def _keep(self, files: list[StoredFile]) -> None:
        self.count += len(files)
        self._paths.append(hash_paths([file.path for file in files]))
        self._states.append(hash_states(files))

    @property
    def paths(self) -> Hashes:
        """Hashes of the paths, of shape (n,)."""
        return np.concatenate(self._paths)

    @property
    def states(self) -> Hashes:
        """Hashes of paths, lengths and modification times, of shape (n,)."""
        return np.concatenate(self._states)


@dataclass(frozen=True)
class DeletedImages:
    """Rows of a source whose image no longer exists.

    Parameters
    ----------
    paths : list of str
        The existence of each was checked individually.
    rows : int
        Number of images of this source in the lake.
    skip_reason : str
        Why the rows are not to be deleted, and what to do; empty if they may be.
    unchecked : int
        Number of images that are not in the listing and were not checked: the rows are not to be deleted anyway.
    """

    paths: list[str] = field(default_factory=list)
    rows: int = 0
    skip_reason: str = ""
    unchecked: int = 0


def find_deleted_images(
    lake: Lake,
    root: str,
    snapshot: ListingSnapshot,
    limit: float,
    stopped: Callable[[], bool] = lambda: False,
) -> DeletedImages:
    """Find the rows of a source whose image is not in a complete listing and does not exist.

    The rows are not to be deleted if the listing is empty (as that of an unmounted folder is), or if they are more
    than `limit` of the source's images.

    Parameters
    ----------
    lake : Lake
    root : str
        The source. Rows of other sources are ignored.
    snapshot : ListingSnapshot
        Of the whole source.
    limit : float
        A share, 0 to 1.
    stopped : callable
        Once it returns True, the checks end.

    Raises
    ------
    TransientError
        If the existence of an image on S3 could not be checked.
    StopRequested
        If the checks were ended.
    """
    listed = np.sort(snapshot.paths)
    rows, missing = 0, set[str]()
    for table in (lake.features, lake.quarantine):
        if not is_table(table):
            continue
        for batch in query(open_table(table), "path"):
            paths = batch.column(0).cast(pa.string())
            paths = paths.filter(pc.starts_with(paths, root.rstrip("/") + "/"))
            rows += len(paths)
            names = paths.to_pylist()
            unlisted = ~contains_hashes(listed, hash_paths(names))
            missing.update(names[i] for i in np.flatnonzero(unlisted))
    # An empty listing permits no deletion, so the first image that is confirmed to be absent ends the search.
    max_absent = limit * rows if snapshot.count else 0
    deleted, unchecked = find_absent(sorted(missing), max_absent, stopped)
    reason = ""
    if deleted and not snapshot.count:
        reason = (
            f"the listing of {root} is empty: mount it or check the prefix; to delete the rows anyway, "
            "use `pomona forget`"
        )
    elif len(deleted) > limit * rows:
        reason = (
            f"these are more than {limit:.0%} of the {format_count(rows, 'image')} of {root}: "
            "use --remove-limit 1 to delete them"
        )
    if reason and unchecked:
        others = format_count(unchecked, "other image")
        reason += f"; not checked: {others} not in the listing"
    return DeletedImages(deleted, rows, reason, unchecked)


def find_absent(
    paths: Sequence[str],
    max_absent: float = math.inf,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[str], int]:
    """Return the images that certainly do not exist, and the number of images that were not checked.

    The images are checked in chunks, since each waiting check takes 1.6 KB. No chunk follows after `max_absent` is
    exceeded; once `stopped` returns True, StopRequested is raised.
    """
    absent = list[str]()
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), _CHUNK):
            if len(absent) > max_absent:
                return absent, len(paths) - start
            if stopped():
                raise StopRequested
            chunk = paths[start : start + _CHUNK]
            are_absent = pool.map(_is_absent, chunk)
            absent += [path for path, is_absent in zip(chunk, are_absent, strict=True) if is_absent]
    return absent, 0


def _is_absent(path: str) -> bool:
    """Return whether an image certainly does not exist."""
    try:
        return not open_storage(path).exists(path)
    except PermissionError:
        return False
