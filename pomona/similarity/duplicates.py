"""Find duplicated images: the same bytes, or features with a high cosine similarity."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pomona.similarity.nearest import DIGITS, Cosines, RowIndices
from pomona.similarity.vector_cache import Vectors
from streaming.delta.reader import open_table, query_rows
from streaming.lake.layout import Lake

#: Pairs that are compared without being asked twice: of so many rows, a minute or two on two cores.
MAX_ROWS_WITHOUT_CONFIRMATION = 50_000
_BLOCK = 2048
_EPSILON = float(np.finfo(np.float32).eps)
# Above this share of a block's pairs, all of them in float64 are quicker than one by one.
_DENSE = 0.01


@dataclass(frozen=True)
class DuplicateGroup:
    """Images of one content.

    Attributes
    ----------
    content_hash : str
        SHA-256 of their bytes.
    images : list of (str, str)
        Path and label of each, in the order of the paths.
    """

    content_hash: str
    images: list[tuple[str, str]]


class Pairs(NamedTuple):
    """Pairs of rows by their places, shape (m,) each, nearest first, and how many there are in all."""

    first: RowIndices
    second: RowIndices
    cosines: Cosines
    total: int

    def at(self, chosen: RowIndices | slice) -> Pairs:
        """Some of them, in their order; `total` stays."""
        return Pairs(self.first[chosen], self.second[chosen], self.cosines[chosen], self.total)


def find_same_bytes(lake: Lake, version: int) -> list[DuplicateGroup]:
    """Images of a version whose bytes another one has too, by their content hash."""
    rows = query_rows(
        open_table(lake.features, version),
        "content_hash, path, label",
        "WHERE content_hash IN (SELECT content_hash FROM the_table GROUP BY content_hash HAVING count(*) > 1) "
        "ORDER BY content_hash, path",
    )
    return [
        DuplicateGroup(digest, [(row["path"], row["label"]) for row in group])
        for digest, group in groupby(rows, key=lambda row: str(row["content_hash"]))
    ]


def rows_with_label(vectors: Vectors, label: str | None) -> RowIndices:
    """Places of the rows with a label, or of all."""
    if label is None:
        return np.arange(len(vectors))
    places: RowIndices = np.flatnonzero(pc.equal(vectors.rows["label"], label).to_numpy())
    return places


class PairwiseComparison:
    """Every pair of some rows, block by block: products in float32 leave candidates, which float64 decides.

    Parameters
    ----------
    vectors : Vectors
    places : ndarray of shape (n,), int64
        The rows to compare with each other, ascending.
    at_least : float
        The cosine from which two rows are near duplicates.
    """

    def __init__(self, vectors: Vectors, places: RowIndices, at_least: float) -> None:
        self._vectors, self._places, self._at_least = vectors, places, at_least
        self._blocks = range(-(-len(places) // _BLOCK))
        hashes = vectors.rows["content_hash"].take(pa.array(places)).combine_chunks()
        self._codes: NDArray[np.int32] = hashes.dictionary_encode().indices.to_numpy()
        self._slack = 2 * (vectors.width + 2) * _EPSILON

    @property
    def rows(self) -> int:
        """How many are compared."""
        return len(self._places)

    @property
    def steps(self) -> int:
        """Pairs of blocks."""
        return len(self._blocks) * (len(self._blocks) + 1) // 2

    def seconds(self) -> float:
        """How long `run` would take here, by a try at one pair of blocks."""
        one = self._unit(len(self._blocks) // 2)
        started = time.perf_counter()
        two = self._unit(0)
        _ = (one @ two.T).max()
        return (time.perf_counter() - started) * self.steps

    def run(self, top: int, progress: Callable[[int, int], None] = lambda done, of: None) -> Pairs:
        """Find all pairs of different bytes, and keep the nearest.

        Parameters
        ----------
        top : int
            How many to keep; all are counted.
        progress : callable
            Called with the pairs of blocks that are done, and how many there are.

        Returns
        -------
        Pairs
            Those whose cosine is `at_least` or more.
        """
        none: RowIndices = np.empty(0, np.int64)
        kept = Pairs(none, none, np.empty(0), 0)
        done = 0
        for i in self._blocks:
            one = self._unit(i)
            for j in self._blocks[i:]:
                kept = _merged(kept, self._near(i, j, one, one if i == j else self._unit(j)), top)
                done += 1
                progress(done, self.steps)
        return kept.at(np.lexsort((kept.second, kept.first, -kept.cosines))[:top])

    def _unit(self, number: int) -> NDArray[np.float32]:
        """A block of rows at length 1; rows of zeros stay."""
        places = self._places[number * _BLOCK : (number + 1) * _BLOCK]
        norms = self._vectors.norms[places].astype(np.float32)[:, np.newaxis]
        unit: NDArray[np.float32] = np.divide(
            self._vectors.take(places), np.where(norms > 0, norms, 1), dtype=np.float32
        )
        return unit

    def _near(self, i: int, j: int, one: NDArray[np.float32], two: NDArray[np.float32]) -> Pairs:
        near = one @ two.T >= self._at_least - self._slack
        if i == j:
            near = np.triu(near, 1)
        a, b = np.nonzero(near)
        different = self._codes[i * _BLOCK + a] != self._codes[j * _BLOCK + b]
        a, b = a[different], b[different]
        first, second = self._places[i * _BLOCK + a], self._places[j * _BLOCK + b]
        cosines = self._exact(i, j, a, b)
        yes = cosines >= self._at_least
        return Pairs(first[yes], second[yes], cosines[yes], int(yes.sum()))

    def _exact(self, i: int, j: int, a: RowIndices, b: RowIndices) -> Cosines:
        """Cosines of rows `a` of a block and rows `b` of another, in float64."""
        if not len(a):
            return np.empty(0)
        one, two = self._whole(i), self._whole(j)
        if len(a) > _DENSE * len(one) * len(two):
            found: Cosines = (one @ two.T)[a, b]
        else:
            parts = (slice(at, at + _BLOCK) for at in range(0, len(a), _BLOCK))
            found = np.concatenate(
                [np.einsum("ij,ij->i", one[a[part]], two[b[part]]) for part in parts]
            )
        return found.round(DIGITS)

    def _whole(self, number: int) -> NDArray[np.float64]:
        """A block of rows at length 1, in float64."""
        places = self._places[number * _BLOCK : (number + 1) * _BLOCK]
        norms = self._vectors.norms[places][:, np.newaxis]
        return self._vectors.take(places) / np.where(norms > 0, norms, 1.0)


def _merged(kept: Pairs, more: Pairs, top: int) -> Pairs:
    """The nearest of both, and the count of all."""
    both = Pairs(
        np.concatenate([kept.first, more.first]),
        np.concatenate([kept.second, more.second]),
        np.concatenate([kept.cosines, more.cosines]),
        kept.total + more.total,
    )
    if len(both.cosines) <= 2 * top:
        return both
    return both.at(np.argpartition(-both.cosines, top)[:top])
