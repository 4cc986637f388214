"""Find images that are far from all others, and images whose nearest neighbors have another label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEIGHBORS = 5
MAX_LISTED = 20
# The distances of all pairs of 10,000 points take a third of a second.
_MAX_COMPARED = 10_000
# Rows at a time: their distances to all others fit into the cache.
_BLOCK = 16
# Multiplications per call. For more than 262,144, OpenBLAS starts threads, whose start takes longer than the work.
_PRODUCT = 250_000


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
    count = len(scores)
    # The product of both matrices is the squared distance, less the square of the row itself.
    left = np.hstack([-2 * scores, np.ones((count, 1))])
    right = np.vstack([scores.T, (scores**2).sum(axis=1)])
    columns = max(1, _PRODUCT // (_BLOCK * len(right)))
    nearest = np.empty((count, NEIGHBORS), dtype=np.intp)
    # Allocated once: allocating it for each block takes longer than computing its values.
    products = np.empty((_BLOCK, count))
    for start in range(0, count, _BLOCK):
        block = left[start : start + _BLOCK]
        product = products[: len(block)]
        for column in range(0, count, columns):
            part = slice(column, column + columns)
            np.matmul(block, right[:, part], out=product[:, part])
        own = np.arange(len(block))
        product[own, start + own] = np.inf
        nearest[start : start + _BLOCK] = np.argpartition(product, NEIGHBORS - 1)[:, :NEIGHBORS]
    distances = np.linalg.norm(scores[nearest] - scores[:, np.newaxis], axis=2)
    return nearest, distances.mean(axis=1)
