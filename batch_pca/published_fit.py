"""What a published refit has fitted, read back without Spark from the arrays that it left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch_pca.moments import Matrix, Moments, Vector
from batch_pca.publish import Folder, read_components
from streaming.errors import SnapshotError


@dataclass(frozen=True, eq=False)
class PublishedFit:
    """A scaler and a PCA as they were published.

    Attributes
    ----------
    count : int
        Rows fitted.
    mean, std : ndarray of shape (d,), float64
        As `batch_pca.fit.Reduction` has them; `std` is 0 where the column is constant.
    components : ndarray of shape (k, d), float64
    """

    count: int
    mean: Vector
    std: Vector
    components: Matrix

    def transform(self, rows: NDArray[Any]) -> Matrix:
        """Standardize and project rows (n, d) to scores (n, k); ValueError for another width."""
        if rows.ndim != 2 or rows.shape[1] != self.mean.size:
            raise ValueError(f"rows of shape {rows.shape} where (n, {self.mean.size}) is needed")
        scale = np.where(self.std > 0, self.std, 1.0)
        scores: Matrix = ((rows - self.mean) / scale) @ self.components.T
        return scores


def read_fit(folder: Folder) -> PublishedFit:
    """The fit in a refit's folder.

    Raises
    ------
    SnapshotError
        Where somebody has removed or damaged its arrays.
    """
    components = read_components(folder)
    try:
        moments = Moments.from_bytes(folder.read("moments.npz"))
    except (FileNotFoundError, SnapshotError):
        moments = None
    if components is None or moments is None or components.shape[1] != moments.shift.size:
        raise SnapshotError(
            f"{folder.uri}: moments.npz or components.npz is gone or damaged: refit that version again"
        )
    std = np.where(moments.constant(), 0.0, np.sqrt(moments.variance()))
    return PublishedFit(moments.count, moments.mean(), std, components)
