"""A fitted scaler and PCA that transform rows, from a fit or loaded from a published refit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch_pca.pca.moments import Matrix, Vector
from streaming.errors import UsageError

# 64 rows of 1280 float64 values are 0.6 MB.
_BLOCK_ROWS = 64


@dataclass(frozen=True, eq=False)
class Projection:
    """A fitted scaler and PCA of n rows of width d.

    Attributes
    ----------
    count : int
        Number of rows fitted, n.
    mean, std : ndarray of shape (d,), float64
        Mean and sample standard deviation (n - 1) of each column. `std` is exactly 0 for constant columns.
    components : ndarray of shape (k, d), float64
        Orthonormal rows in the space of standardized columns, by descending variance; 0 at constant columns.

    Examples
    --------
    >>> import pomona
    >>> projection = pomona.open_lake("./lake").latest_pca().projection
    >>> projection.count, projection.mean.shape, projection.components.shape
    (8, (1280,), (3, 1280))
    """

    count: int
    mean: Vector
    std: Vector
    components: Matrix

    def transform(self, rows: NDArray[Any]) -> Matrix:
        """Standardize and project rows (n, d) to scores (n, k); raise UsageError for another shape or type.

        Examples
        --------
        >>> import pomona
        >>> projection = pomona.open_lake("./lake").latest_pca().projection
        >>> bool(abs(projection.transform(projection.mean[None])).max() < 1e-9)
        True
        """
        if rows.ndim != 2 or rows.shape[1] != self.mean.size:
            raise UsageError(f"rows have shape {rows.shape}: give (n, {self.mean.size})")
        if rows.dtype.kind not in "biuf":
            raise UsageError(f"rows are of type {rows.dtype}: give real numbers")
        scale = np.where(self.std > 0, self.std, 1.0)
        standardized = np.empty(rows.shape)
        # Block by block, the values stay in the cache between both operations.
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = standardized[start : start + _BLOCK_ROWS]
            np.subtract(rows[start : start + _BLOCK_ROWS], self.mean, out=block)
            np.divide(block, scale, out=block)
        scores: Matrix = standardized @ self.components.T
        return scores
