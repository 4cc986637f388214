"""Exact nearest neighbors by cosine similarity, block by block, on all cores."""

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
#: Digits of a cosine that rounding leaves; those that agree in them are in the order of their paths.
DIGITS = 12


class NearestRows(NamedTuple):
    """Rows by their places, shape (m,), and their cosines to what was asked, nearest first."""

    places: RowIndices
    cosines: Cosines


def find_nearest(
    vectors: Vectors, asked: NDArray[np.float64], top: int, but: int | None = None
) -> NearestRows:
    """Find the rows whose vectors point most the same way.

    Products in float32 leave few candidates, whose cosines are then computed in float64.

    Parameters
    ----------
    vectors : Vectors
        A vector of zeros has cosine 0 to all.
    asked : ndarray of shape (width,), float64
    top : int
        How many to find.
    but : int, optional
        The place of a row to leave out.

    Returns
    -------
    Found
        At most `top`; where cosines are equal, in the order of the paths.
    """
    unit = _unit(asked)
    narrow = unit.astype(np.float32)
    # A sum of n float32 products of unit vectors errs by n units of rounding at most.
    slack = 2 * (vectors.width + 2) * _EPSILON

    def candidates(number: int) -> NearestRows:
        first = number * BLOCK_ROWS
        block = vectors.block(number)
        cosines = _divided(block @ narrow, norms[first : first + len(block)])
        if but is not None and first <= but < first + len(block):
            cosines[but - first] = -np.inf
        chosen = _best(cosines, top, slack)
        return NearestRows(first + chosen, cosines[chosen])

    norms = vectors.norms
    places: RowIndices = np.empty(0, np.int64)
    cosines: Cosines = np.empty(0)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for more in pool.map(candidates, vectors.blocks):
            places = np.concatenate([places, more.places])
            cosines = np.concatenate([cosines, more.cosines])
            chosen = _best(cosines, top, slack)
            places, cosines = places[chosen], cosines[chosen]
    return _in_order(vectors, unit, places[places != (-1 if but is None else but)], top)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def _divided(products: NDArray[np.floating], norms: NDArray[np.float64]) -> Cosines:
    """Products with unit vectors as cosines; 0 for vectors of zeros."""
    cosines: Cosines = np.divide(products, norms, out=np.zeros(len(norms)), where=norms > 0)
    return cosines


def _best(cosines: Cosines, top: int, slack: float) -> RowIndices:
    """Places of all that may be among the best, in order of their places."""
    if len(cosines) <= top:
        return np.arange(len(cosines))
    least = np.partition(cosines, -top)[-top]
    return np.flatnonzero(cosines >= least - slack)


def _in_order(
    vectors: Vectors, unit: NDArray[np.float64], places: RowIndices, top: int
) -> NearestRows:
    """The candidates by their exact cosines."""
    exact = [
        vectors.take(places[at : at + _EXACT_ROWS]).astype(np.float64) @ unit
        for at in range(0, len(places), _EXACT_ROWS)
    ]
    cosines = _divided(np.concatenate([np.empty(0), *exact]), vectors.norms[places]).round(DIGITS)
    least = np.partition(cosines, -top)[-top] if len(cosines) > top else -np.inf
    places, cosines = places[cosines >= least], cosines[cosines >= least]
    paths = vectors.rows["path"].take(places).to_pylist()
    order = sorted(range(len(places)), key=lambda at: (-cosines[at], paths[at]))[:top]
    return NearestRows(places[order], cosines[order])
