"""Find duplicated images: identical bytes, or features with a high cosine similarity."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pomona.queries.session import check_label, unknown_label
from pomona.similarity.nearest import DIGITS, Cosines, RowIndices
from pomona.similarity.vector_cache import Vectors, load_vectors
from streaming.arguments import check_fields
from streaming.delta.reader import open_table, query_rows
from streaming.errors import UsageError
from streaming.lake.layout import Lake

#: Number of rows above which `pomona duplicates` requires confirmation: 50,000 take about a minute on two cores.
MAX_ROWS_WITHOUT_CONFIRMATION = 50_000
_BLOCK = 2048
_EPSILON = float(np.finfo(np.float32).eps)
# If more than this fraction of a block's pairs are candidates, one float64 product of the whole block is faster than
# one dot product per pair.
_DENSE = 0.01


@dataclass(frozen=True)
class DuplicateGroup:
    """Images with identical bytes.

    Attributes
    ----------
    content_hash : str
        SHA-256 of the bytes.
    images : list of (str, str)
        Path and label of each image, sorted by path.

    Examples
    --------
    >>> import pomona
    >>> for group in pomona.open_lake("./lake").duplicates().same_bytes:
    ...     print(group.content_hash, len(group.images))
    """

    content_hash: str
    images: list[tuple[str, str]]


@dataclass(frozen=True)
class NearDuplicates:
    """Two images with different bytes and similar features.

    Attributes
    ----------
    cosine : float
        Cosine similarity of their features.
    images : tuple of (str, str)
        Path and label of both images, sorted by path.

    Examples
    --------
    >>> import pomona
    >>> nearest = pomona.open_lake("./lake").duplicates(at_least=0.1).near[0]
    >>> nearest.images[0] < nearest.images[1]
    True
    """

    cosine: float
    images: tuple[tuple[str, str], tuple[str, str]]


@dataclass(frozen=True)
class DuplicatesResult:
    """The duplicated images of a version.

    Attributes
    ----------
    version : int
        Version of the features table.
    same_bytes : list of DuplicateGroup
        Images with identical bytes.
    near : list of NearDuplicates
        The closest pairs with different bytes, most similar first.
    near_count : int
        Number of all such pairs.

    Examples
    --------
    >>> import pomona
    >>> result = pomona.open_lake("./lake").duplicates(at_least=0.5, top=3)
    >>> len(result.same_bytes), len(result.near) <= 3
    (0, True)
    """

    version: int
    same_bytes: list[DuplicateGroup]
    near: list[NearDuplicates]
    near_count: int


@dataclass(frozen=True)
class NearDuplicateOptions:
    """Options of the search for near-duplicates.

    Parameters
    ----------
    at_least : float
        Minimum cosine similarity of near-duplicates.
    label : str, optional
        Compare only images with this label.
    top : int
        Maximum number of pairs to return; all are counted.
    """

    at_least: float
    label: str | None = None
    top: int = 100

    def __post_init__(self) -> None:
        """Raise UsageError if a value has another type or is out of range."""
        check_fields(self)
        object.__setattr__(self, "label", check_label(self.label))
        if not 0 < self.at_least <= 1:
            raise UsageError(f"--at-least {self.at_least}: give a cosine above 0 and up to 1")
        if self.top < 1:
            raise UsageError(f"--top {self.top}: give 1 or more")


class Pairs(NamedTuple):
    """Pairs of rows as row indices of shape (m,), highest cosine first, and the total number of pairs found."""

    first: RowIndices
    second: RowIndices
    cosines: Cosines
    total: int

    def select(self, selection: RowIndices | slice) -> Pairs:
        """Return the selected pairs in the given order; `total` is unchanged."""
        return Pairs(
            self.first[selection], self.second[selection], self.cosines[selection], self.total
        )


def find_same_bytes(lake: Lake, version: int) -> list[DuplicateGroup]:
    """Return the images of a version that share their content hash with another image."""
    rows = query_rows(
        open_table(lake.features, version),
        "content_hash, path, label",
        "WHERE content_hash IN (SELECT content_hash FROM the_table GROUP BY content_hash HAVING count(*) > 1) "
        "ORDER BY content_hash, path",
    )
    return [
        DuplicateGroup(content_hash, [(row["path"], row["label"]) for row in group])
        for content_hash, group in groupby(rows, key=lambda row: str(row["content_hash"]))
    ]


def rows_with_label(vectors: Vectors, label: str | None) -> RowIndices:
    """Return the indices of the rows with a label, or of all rows if `label` is None.

    Raises
    ------
    UsageError
        If no row has the label.
    """
    if label is None:
        return np.arange(len(vectors))
    indices: RowIndices = np.flatnonzero(pc.equal(vectors.rows["label"], label).to_numpy())
    if not len(indices):
        raise unknown_label(label, vectors.version)
    return indices


def describe_pairs(vectors: Vectors, pairs: Pairs) -> list[NearDuplicates]:
    """Return pairs of rows with the paths and labels of their images."""
    first, second = (
        [(row["path"], row["label"]) for row in vectors.rows_at(indices, ["path", "label"])]
        for indices in (pairs.first, pairs.second)
    )
    return [
        NearDuplicates(cosine, (min(a, b), max(a, b)))
        for cosine, a, b in zip(pairs.cosines.tolist(), first, second, strict=True)
    ]


def find_duplicates(lake: Lake, version: int, near: NearDuplicateOptions) -> DuplicatesResult:
    """Find the images of a version with identical bytes, and those with similar features."""
    vectors = load_vectors(lake, version)
    indices = rows_with_label(vectors, near.label)
    pairs = PairwiseComparison(vectors, indices, near.at_least).run(near.top)
    return DuplicatesResult(
        version, find_same_bytes(lake, version), describe_pairs(vectors, pairs), pairs.total
    )


class PairwiseComparison:
    """Compare all pairs of rows block by block: float32 products select candidates, float64 cosines decide.

    Parameters
    ----------
    vectors : Vectors
        Cached features of one version.
    indices : ndarray of shape (n,), int64
        Indices of the rows to compare with each other, ascending.
    at_least : float
        Minimum cosine similarity of near-duplicates.
    """

    def __init__(self, vectors: Vectors, indices: RowIndices, at_least: float) -> None:
        self._vectors, self._indices, self._at_least = vectors, indices, at_least
        self._blocks = range(-(-len(indices) // _BLOCK))
        # Upper bound of the rounding error of a float32 product of unit vectors.
        self._tolerance = 2 * (vectors.width + 2) * _EPSILON

    @property
    def rows(self) -> int:
        """Number of rows that are compared."""
        return len(self._indices)

    @property
    def steps(self) -> int:
        """Number of block pairs."""
        return len(self._blocks) * (len(self._blocks) + 1) // 2

    def estimate_seconds(self) -> float:
        """Estimate the duration of `run` on this machine by timing one block pair."""
        left = self._normalized_block(len(self._blocks) // 2)
        started = time.perf_counter()
        right = self._normalized_block(0)
        _ = (left @ right.T).max()
        return (time.perf_counter() - started) * self.steps

    def run(
        self, top: int, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Pairs:
        """Count all pairs with different bytes and a cosine of at least `at_least`, and return the closest.

        Parameters
        ----------
        top : int
            Maximum number of pairs to return; all are counted.
        progress : callable
            Called with the number of processed block pairs and their total.
        """
        empty: RowIndices = np.empty(0, np.int64)
        pairs = Pairs(empty, empty, np.empty(0), 0)
        done = 0
        for i in self._blocks:
            left = self._normalized_block(i)
            for j in self._blocks[i:]:
                right = left if i == j else self._normalized_block(j)
                pairs = _merge(pairs, self._compare_blocks(i, j, left, right), top)
                done += 1
                progress(done, self.steps)
        return pairs.select(np.lexsort((pairs.second, pairs.first, -pairs.cosines))[:top])

    def _normalized_block(self, number: int) -> NDArray[np.float32]:
        """Return a block of rows scaled to unit length, in float32; zero vectors stay zero."""
        indices = self._indices[number * _BLOCK : (number + 1) * _BLOCK]
        norms = self._vectors.norms[indices].astype(np.float32)[:, np.newaxis]
        unit: NDArray[np.float32] = np.divide(
            self._vectors.take(indices), np.where(norms > 0, norms, 1), dtype=np.float32
        )
        return unit

    def _compare_blocks(
        self, i: int, j: int, left: NDArray[np.float32], right: NDArray[np.float32]
    ) -> Pairs:
        """Return the near-duplicates between blocks `i` and `j`; identical bytes are left out."""
        candidates = left @ right.T >= self._at_least - self._tolerance
        if i == j:
            candidates = np.triu(candidates, 1)
        a, b = np.nonzero(candidates)
        if len(a):
            differ = self._content_hashes(i)[a] != self._content_hashes(j)[b]
            a, b = a[differ], b[differ]
        first, second = self._indices[i * _BLOCK + a], self._indices[j * _BLOCK + b]
        cosines = self._exact_cosines(i, j, a, b)
        near = cosines >= self._at_least
        return Pairs(first[near], second[near], cosines[near], int(near.sum()))

    def _exact_cosines(self, i: int, j: int, a: RowIndices, b: RowIndices) -> Cosines:
        """Return the float64 cosines of rows `a` of block `i` with rows `b` of block `j`."""
        if not len(a):
            return np.empty(0)
        left, right = self._normalized_block_float64(i), self._normalized_block_float64(j)
        if len(a) > _DENSE * len(left) * len(right):
            cosines: Cosines = (left @ right.T)[a, b]
        else:
            parts = (slice(start, start + _BLOCK) for start in range(0, len(a), _BLOCK))
            cosines = np.concatenate(
                [np.einsum("ij,ij->i", left[a[part]], right[b[part]]) for part in parts]
            )
        return cosines.round(DIGITS)

    def _content_hashes(self, number: int) -> NDArray[np.object_]:
        """Return the content hashes of a block of rows."""
        indices = self._indices[number * _BLOCK : (number + 1) * _BLOCK]
        rows = self._vectors.rows_at(indices, ["content_hash"])
        return np.array([row["content_hash"] for row in rows], dtype=object)

    def _normalized_block_float64(self, number: int) -> NDArray[np.float64]:
        """Return a block of rows scaled to unit length, in float64."""
        indices = self._indices[number * _BLOCK : (number + 1) * _BLOCK]
        norms = self._vectors.norms[indices][:, np.newaxis]
        return self._vectors.take(indices) / np.where(norms > 0, norms, 1.0)


def _merge(pairs: Pairs, more: Pairs, top: int) -> Pairs:
    """Concatenate pairs and totals; drop all but the closest `top` once there are more than twice as many."""
    merged = Pairs(
        np.concatenate([pairs.first, more.first]),
        np.concatenate([pairs.second, more.second]),
        np.concatenate([pairs.cosines, more.cosines]),
        pairs.total + more.total,
    )
    if len(merged.cosines) <= 2 * top:
        return merged
    return merged.select(np.argpartition(-merged.cosines, top)[:top])
