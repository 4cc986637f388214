"""Principal angles between the subspaces of two fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Angles = NDArray[np.float64]


def principal_angles(one: NDArray[Any], other: NDArray[Any]) -> Angles:
    """Compute the principal angles between two subspaces.

    Parameters
    ----------
    one, other : ndarray of shape (k1, d) and (k2, d)
        Orthonormal bases as rows, such as the components of a PCA.

    Returns
    -------
    ndarray of shape (min(k1, k2),), float64
        Degrees from 0 to 90, ascending. If the dimensions differ, the angles measure how far the smaller subspace
        lies outside the larger one.

    Raises
    ------
    ValueError
        If the bases have different widths.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"bases have different widths: shapes {one.shape} and {other.shape}")
    large, small = (one, other) if len(one) >= len(other) else (other, one)
    shared = small @ large.T
    cosines = np.linalg.svd(shared, compute_uv=False)
    # The cosine of a small angle is 1 up to rounding; only the sine is accurate there.
    sines = np.linalg.svd(small - shared @ large, compute_uv=False)[::-1]
    angles: Angles = np.degrees(np.arctan2(np.clip(sines, 0, 1), np.clip(cosines, 0, 1)))
    return angles


def weighted_angle(one: NDArray[Any], variances: NDArray[Any], other: NDArray[Any]) -> float:
    """Compute how far the components of one fit lie outside the subspace of another, weighted by variance.

    The last of many components explain little variance and rotate by chance; the weights make them negligible.

    Parameters
    ----------
    one : ndarray of shape (k1, d)
        Orthonormal rows.
    variances : ndarray of shape (k1,)
        Variance explained by each row of `one`, in any unit.
    other : ndarray of shape (k2, d)
        Orthonormal rows.

    Returns
    -------
    float
        Degrees from 0 (`one` lies inside) to 90: the angle whose squared sine is the weighted mean of the components'
        squared sines.
    """
    outside = np.sum((one - (one @ other.T) @ other) ** 2, axis=1)
    share = float(np.average(np.clip(outside, 0, 1), weights=variances))
    return float(np.degrees(np.arcsin(np.sqrt(share))))
