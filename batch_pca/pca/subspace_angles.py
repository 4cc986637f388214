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
