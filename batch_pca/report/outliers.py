"""Find images that are far from all others, and images whose nearest neighbors have another label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEIGHBORS = 5
MAX_LISTED = 20
# The distances of all pairs of 10,000 points take about a second.
_MAX_COMPARED = 10_000
# Rows at a time: their distances to all others fit into the cache.
_BLOCK = 50


@dataclass(frozen=True)
class NotableImage:
    """An image of the report's lists, and the reason in words.

    Attributes
    ----------
    path, label : str
    reason : str
    """

    path: str
    label: str
    reason: str


@dataclass(frozen=True)
class NotableImages:
    """Images worth a look, at most `MAX_LISTED` of each kind.

    Attributes
    ----------
    unusual : tuple of NotableImage
        Images with the largest mean distance to their nearest neighbors, largest first.
    disagreeing : tuple of NotableImage
        Images most of whose nearest neighbors have one other label, most neighbors first.
    """

    unusual: tuple[NotableImage, ...] = ()
    disagreeing: tuple[NotableImage, ...] = ()


def find_notable_images(
    paths: Sequence[str], labels: Sequence[str], scores: NDArray[np.floating]
) -> NotableImages:
    """Compare an even sample of at most 10,000 images by Euclidean distance of their scores.

    Parameters
    ----------
    paths, labels : sequence of m str
    scores : ndarray of shape (m, c)

    Returns
    -------
    NotableImages
        Empty if there are not more images than `NEIGHBORS`.
    """
    rows = np.arange(0, len(paths), -(-len(paths) // _MAX_COMPARED) or 1)
    if len(rows) <= NEIGHBORS:
        return NotableImages()
    nearest, distances = _nearest(np.asarray(scores, dtype=np.float64)[rows])
    unusual = [
        NotableImage(paths[rows[i]], labels[rows[i]], f"distance {distances[i]:.4g}")
        for i in np.argsort(-distances, kind="stable")[:MAX_LISTED]
    ]
    found = []
    for i, neighbors in enumerate(nearest):
        (other, count), *_ = Counter(labels[rows[j]] for j in neighbors).most_common(1)
        if other != labels[rows[i]] and 2 * count > NEIGHBORS:
            found.append((-count, distances[i], i, other))
    disagreeing = [
        NotableImage(paths[rows[i]], labels[rows[i]], f"{-count} of {NEIGHBORS} neighbors: {other}")
        for count, _, i, other in sorted(found)[:MAX_LISTED]
    ]
    return NotableImages(tuple(unusual), tuple(disagreeing))


def _nearest(scores: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows of the nearest neighbors of each row, and their mean distance."""
    squares = (scores**2).sum(axis=1)
    nearest = np.empty((len(scores), NEIGHBORS), dtype=np.intp)
    means = np.empty(len(scores))
    # Allocated once: allocating it for each block takes longer than computing its values.
    distances = np.empty((_BLOCK, len(scores)))
    for start in range(0, len(scores), _BLOCK):
        block = scores[start : start + _BLOCK]
        squared = np.matmul(-2 * block, scores.T, out=distances[: len(block)])
        squared += squares
        squared += squares[start : start + _BLOCK, np.newaxis]
        own = np.arange(len(block))
        squared[own, start + own] = np.inf
        chosen = np.argpartition(squared, NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]
        nearest[start : start + _BLOCK] = chosen
        values = np.take_along_axis(squared, chosen, axis=1)
        means[start : start + _BLOCK] = np.sqrt(np.maximum(values, 0)).mean(axis=1)
    return nearest, means
