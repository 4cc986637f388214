"""Find rows whose source image was deleted.

A failed, empty or implausible listing never causes deletions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.delta.reader import open_table, query
from streaming.delta.tables import is_table
from streaming.lake.image_index import Hashes, hash_paths, hash_states
from streaming.lake.layout import Lake
from streaming.storage.interface import StoredFile
from streaming.storage.open import open_storage

#: Share of a source's rows that may be removed at once, unless the user sets another.
DEFAULT_REMOVE_LIMIT = 0.5
_CHUNK = 10_000
_AT_ONCE = 16  # files that are looked for


class ListingSnapshot:
    """What a listing has shown, 16 bytes an image."""

    def __init__(self) -> None:
        self.count = 0
        self._paths: list[Hashes] = [np.empty(0, np.uint64)]
        self._states: list[Hashes] = [np.empty(0, np.uint64)]

    def watch(self, listing: Iterable[StoredFile]) -> Iterator[StoredFile]:
        """Hand a listing on, and keep its hashes."""
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
        """Hashes of the paths."""
        return np.concatenate(self._paths)

    @property
    def states(self) -> Hashes:
        """Hashes of paths, lengths and times."""
        return np.concatenate(self._states)


@dataclass(frozen=True)
class DeletedImages:
    """Rows below a source without an image.

    Parameters
    ----------
    paths : list of str
        Each was looked for by itself, and is not there.
    held : int
        Images that the lake holds of this source.
    why_kept : str
        Why their rows had better be kept; empty where nothing speaks against removing them.
    """

    paths: list[str] = field(default_factory=list)
    held: int = 0
    why_kept: str = ""


def find_deleted_images(
    lake: Lake, root: str, seen: ListingSnapshot, limit: float
) -> DeletedImages:
    """Compare the tables with a listing that has come to its end.

    Nothing is to be removed where the listing is empty, as that of a folder that is not mounted is, or where more
    than a share of the source's images would go at once.

    Parameters
    ----------
    lake : Lake
    root : str
        The source; what else the lake holds is left alone.
    seen : Seen
        Of the whole source.
    limit : float
        That share, 0 to 1.

    Raises
    ------
    TransientError
        Where a single image could not be looked for.
    """
    listed = np.sort(seen.paths)
    held, missing = 0, list[str]()
    for table in (lake.features, lake.quarantine):
        if not is_table(table):
            continue
        for batch in query(open_table(table), "path"):
            paths = batch.column(0).cast(pa.string())
            paths = paths.filter(pc.starts_with(paths, root.rstrip("/") + "/"))
            held += len(paths)
            names = paths.to_pylist()
            absent = ~np.isin(hash_paths(names), listed)
            missing += [names[i] for i in np.flatnonzero(absent)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        away = list(pool.map(_is_away, missing))
    gone = sorted({path for path, is_away in zip(missing, away, strict=True) if is_away})
    why = ""
    if gone and not seen.count:
        why = f"the listing of {root} is empty: is it mounted?"
    elif len(gone) > limit * held:
        why = f"these are more than {limit:.0%} of the {held:,} images of {root}"
    return DeletedImages(gone, held, why)


def _is_away(path: str) -> bool:
    """Whether an image is not there for certain."""
    try:
        return not open_storage(path).exists(path)
    except PermissionError:
        return False
