"""A fitted scaler and PCA as needed to transform rows, from a fit or from a published refit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch_pca.pca.moments import Matrix, Vector


@dataclass(frozen=True, eq=False)
class Projection:
    """A fitted scaler and PCA of n rows of width d.

    Attributes
    ----------
    count : int
        Rows fitted, n.
    mean, std : ndarray of shape (d,), float64
        Mean and sample standard deviation (n - 1) of each column, in the features' unit; `std` is
        exactly 0 where the column is constant.
    components : ndarray of shape (k, d), float64
        Orthonormal rows in the space of standardized columns, most variance first; 0 at constant
        columns.

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
        """Standardize and project rows (n, d) to scores (n, k); ValueError for another width.

        Examples
        --------
        >>> import pomona
        >>> projection = pomona.open_lake("./lake").latest_pca().projection
        >>> bool(abs(projection.transform(projection.mean[None])).max() < 1e-9)
        True
        """
        if rows.ndim != 2 or rows.shape[1] != self.mean.size:
            raise ValueError(f"rows of shape {rows.shape} where (n, {self.mean.size}) is needed")
        scale = np.where(self.std > 0, self.std, 1.0)
        scores: Matrix = ((rows - self.mean) / scale) @ self.components.T
        return scores
