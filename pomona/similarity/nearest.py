"""Exact nearest neighbors by cosine similarity, computed block by block on all cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pomona.similarity.vector_cache import BLOCK_ROWS, Vectors

RowIndices = NDArray[np.int64]
Cosines = NDArray[np.float64]

_EPSILON = float(np.finfo(np.float32).eps)
_EXACT_ROWS = 4096
#: Cosines are rounded to this many digits, which hides rounding errors; equal cosines are sorted by path.
DIGITS = 12


class NearestRows(NamedTuple):
    """Row indices of shape (m,) and their cosines to the query, highest cosine first."""

    indices: RowIndices
    cosines: Cosines


def find_nearest(
    vectors: Vectors, query: NDArray[np.float64], top: int, exclude: int | None = None
) -> NearestRows:
    """Find the rows with the highest cosine similarity to a vector.

    Float32 products select a few candidates, whose cosines are then computed in float64.

    Parameters
    ----------
    vectors : Vectors
        Cached features of one version. A zero vector has cosine 0 to all vectors.
    query : ndarray of shape (width,), float64
        The vector to compare with.
    top : int
        Maximum number of rows to return.
    exclude : int, optional
        Index of a row to leave out.

    Returns
    -------
    NearestRows
        Rows with equal cosines are sorted by path.
    """
    unit = _normalize(query)
    unit_float32 = unit.astype(np.float32)
    # The error of a sum of n float32 products of unit vectors is at most n rounding units.
    tolerance = 2 * (vectors.width + 2) * _EPSILON
    norms = vectors.norms

    def block_candidates(number: int) -> NearestRows:
        start = number * BLOCK_ROWS
        block = vectors.block(number)
        cosines = _cosines(block @ unit_float32, norms[start : start + len(block)])
        if exclude is not None and start <= exclude < start + len(block):
            cosines[exclude - start] = -np.inf
        selected = _select_candidates(cosines, top, tolerance)
        return NearestRows(start + selected, cosines[selected])

    indices: RowIndices = np.empty(0, np.int64)
    cosines: Cosines = np.empty(0)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for more in pool.map(block_candidates, vectors.blocks):
            indices = np.concatenate([indices, more.indices])
            cosines = np.concatenate([cosines, more.cosines])
            selected = _select_candidates(cosines, top, tolerance)
            indices, cosines = indices[selected], cosines[selected]
    if exclude is not None:
        indices = indices[indices != exclude]
    return _rank(vectors, unit, indices, top)


def _normalize(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def _cosines(products: NDArray[np.floating], norms: NDArray[np.float64]) -> Cosines:
    """Divide products with a unit vector by the norms; the result is 0 for zero vectors."""
    cosines: Cosines = np.divide(products, norms, out=np.zeros(len(norms)), where=norms > 0)
    return cosines


def _select_candidates(cosines: Cosines, top: int, tolerance: float) -> RowIndices:
    """Return the ascending indices of all rows that may be among the `top` nearest."""
    if len(cosines) <= top:
        return np.arange(len(cosines))
    threshold = np.partition(cosines, -top)[-top]
    return np.flatnonzero(cosines >= threshold - tolerance)


def _rank(
    vectors: Vectors, unit: NDArray[np.float64], indices: RowIndices, top: int
) -> NearestRows:
    """Sort the candidates by their exact cosines and return the first `top`."""
    exact = [
        vectors.take(indices[start : start + _EXACT_ROWS]).astype(np.float64) @ unit
        for start in range(0, len(indices), _EXACT_ROWS)
    ]
    cosines = _cosines(np.concatenate([np.empty(0), *exact]), vectors.norms[indices]).round(DIGITS)
    threshold = np.partition(cosines, -top)[-top] if len(cosines) > top else -np.inf
    indices, cosines = indices[cosines >= threshold], cosines[cosines >= threshold]
    paths = [row["path"] for row in vectors.rows_at(indices, ["path"])]
    order = sorted(range(len(indices)), key=lambda at: (-cosines[at], paths[at]))[:top]
    return NearestRows(indices[order], cosines[order])
