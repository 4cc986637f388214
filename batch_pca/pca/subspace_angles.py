"""Principal angles between the subspaces of two fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Angles = NDArray[np.float64]


def principal_angles(one: NDArray[Any], other: NDArray[Any]) -> Angles:
    """How far two subspaces are turned against each other.

    Parameters
    ----------
    one, other : ndarray of shape (k1, d) and (k2, d)
        Their orthonormal bases, as rows, such as the components of a PCA.

    Returns
    -------
    ndarray of shape (min(k1, k2),), float64
        Degrees, 0 to 90, ascending: the last is the largest. Where one subspace is the larger, they tell how far
        the smaller lies outside of it.

    Raises
    ------
    ValueError
        Where the bases have different widths.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"bases of shape {one.shape} and {other.shape} lie in different spaces")
    large, small = (one, other) if len(one) >= len(other) else (other, one)
    shared = small @ large.T
    cosines = np.linalg.svd(shared, compute_uv=False)
    # A small angle's cosine is 1 but for its last digits: there the sine tells it.
    sines = np.linalg.svd(small - shared @ large, compute_uv=False)[::-1]
    angles: Angles = np.degrees(np.arctan2(np.clip(sines, 0, 1), np.clip(cosines, 0, 1)))
    return angles


def weighted_angle(one: NDArray[Any], variances: NDArray[Any], other: NDArray[Any]) -> float:
    """How far the components of one fit lie outside of another's subspace, each as much as it explains.

    The last of many components explain little, and chance turns them: this angle hardly sees them.

    Parameters
    ----------
    one : ndarray of shape (k1, d)
        Orthonormal rows.
    variances : ndarray of shape (k1,)
        What each of them explains, in any unit.
    other : ndarray of shape (k2, d)
        Orthonormal rows.

    Returns
    -------
    float
        Degrees, 0 (all of `one` lies inside) to 90: the angle whose squared sine is the mean of theirs.
    """
    outside = np.sum((one - (one @ other.T) @ other) ** 2, axis=1)
    share = float(np.average(np.clip(outside, 0, 1), weights=variances))
    return float(np.degrees(np.arcsin(np.sqrt(share))))
