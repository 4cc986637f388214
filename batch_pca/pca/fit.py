"""Fit a StandardScaler and PCA from sufficient statistics alone, by an eigendecomposition.

PCA of standardized rows is the eigendecomposition of their correlation matrix. The scaler divides by the sample
standard deviation (n - 1), as Spark ML does; scikit-learn divides by n, so its scores are larger by the factor
``sqrt(n / (n - 1))``, while components and explained variance ratios are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch_pca.pca.moments import Matrix, Moments, Vector
from batch_pca.pca.projection import Projection
from streaming.arguments import check_fields
from streaming.counts import format_count
from streaming.errors import SnapshotError, UsageError

# Rounding of the cumulative sum of a few thousand ratios.
_TOLERANCE = 1e-12
# Minimum cosine for two components to count as the same direction. Random directions reach about 0.1 (a hundred
# components in 1280 dimensions), and the sign of such a cosine means nothing.
_MIN_COSINE = 0.3


@dataclass(frozen=True)
class FitOptions:
    """Number of components to keep, or the explained variance ratio to reach.

    Parameters
    ----------
    components : int, optional
        Number of components, 1 or more.
    variance : float, optional
        Keep the fewest components that explain this share of the variance, above 0 and up to 1.

    Raises
    ------
    UsageError
        If both or neither are given, `components` is not an integer of 1 or more, or `variance` is not a number in
        (0, 1].

    Examples
    --------
    >>> import pomona
    >>> pomona.FitOptions(variance=0.95)
    FitOptions(components=None, variance=0.95)
    """

    components: int | None = None
    variance: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.components is None) == (self.variance is None):
            given = f"components={self.components} and variance={self.variance}"
            raise UsageError(f"{given}: give exactly one, such as components=50 or variance=0.95")
        if self.components is not None and self.components < 1:
            raise UsageError(f"components={self.components} is below 1: give 1 or more")
        if self.variance is not None:
            example = "give a ratio such as 0.95 for 95%"
            if not 0 < self.variance <= 1:
                raise UsageError(f"variance={self.variance} is outside (0, 1]: {example}")
            object.__setattr__(self, "variance", float(self.variance))


@dataclass(frozen=True, eq=False)
class Reduction(Projection):
    """A fitted scaler and PCA with the spectrum of the rows they were fitted on.

    Attributes
    ----------
    explained_variance, explained_variance_ratio : ndarray of shape (r,), float64
        Full spectrum of the standardized rows in descending order, and its ratios, which sum to 1;
        ``r = min(n - 1, number of columns that vary)``.
    constant_columns : int
        Number of columns that do not vary. The scaler maps them to 0.
    limited_by_rows : bool
        Whether the number of rows, not the number of columns, limits the length of the spectrum.
    """

    explained_variance: Vector
    explained_variance_ratio: Vector
    constant_columns: int
    limited_by_rows: bool

    @property
    def k(self) -> int:
        """Number of components kept."""
        return len(self.components)

    @property
    def cumulative(self) -> Vector:
        """Cumulative explained variance ratio, shape (r,)."""
        return np.cumsum(self.explained_variance_ratio)

    def components_for(self, variance: float) -> int:
        """Return the smallest number of components whose explained variance ratio reaches `variance` in (0, 1]."""
        return components_reaching(self.explained_variance_ratio, variance)


def components_reaching(ratio: Vector, variance: float) -> int:
    """Return the smallest number of components whose ratios, out of shape (r,), sum to `variance`."""
    reached = np.cumsum(ratio) >= variance - _TOLERANCE
    return int(np.argmax(reached)) + 1 if reached.any() else len(ratio)


def fit(
    moments: Moments, options: FitOptions, previous_components: NDArray[Any] | None = None
) -> Reduction:
    """Fit the scaler and the PCA.

    Parameters
    ----------
    moments : Moments
        Statistics of n rows of width d.
    options : FitOptions
    previous_components : ndarray of shape (k0, d), optional
        Components of an earlier fit. Each new component gets the sign of the most similar earlier one. If none is
        similar, its loading of largest magnitude is positive.

    Raises
    ------
    SnapshotError
        If there are fewer than 2 rows, no column varies, or `options` demands more components than there can be.
    ValueError
        If `previous_components` has a different width.
    """
    if moments.count < 2:
        raise SnapshotError(f"a fit needs at least 2 rows, not {moments.count}: ingest more images")
    varies = ~moments.constant()
    columns = int(varies.sum())
    if not columns:
        cause = f"no column of {format_count(moments.count, 'row')} varies"
        raise SnapshotError(f"{cause}: ingest images that differ, or check the weights")
    limit = min(moments.count - 1, columns)
    _validate_components(options, limit, moments.count)
    std = np.where(varies, np.sqrt(moments.variance()), 0.0)
    eigenvalues, vectors = np.linalg.eigh(moments.correlation()[np.ix_(varies, varies)])
    vectors = vectors[:, ::-1]
    values = np.maximum(eigenvalues[::-1], 0.0)[:limit]
    ratio = values / values.sum()
    kept = options.components or components_reaching(ratio, options.variance or 1.0)
    components = np.zeros((kept, varies.size))
    components[:, varies] = vectors[:, :kept].T
    return Reduction(
        mean=moments.mean(),
        std=std,
        components=_align_signs(components, previous_components),
        explained_variance=values,
        explained_variance_ratio=ratio,
        count=moments.count,
        constant_columns=varies.size - columns,
        limited_by_rows=moments.count - 1 < columns,
    )


def _validate_components(options: FitOptions, limit: int, rows: int) -> None:
    if options.components is not None and options.components > limit:
        cause = (
            f"{format_count(rows, 'row')} allow at most {format_count(limit, 'component')}"
            if limit == rows - 1
            else f"the number of columns that vary is {limit:,}"
        )
        raise SnapshotError(
            f"{options.components} components are too many, {cause}: "
            f"use {limit} or fewer, use a variance ratio, or ingest more images"
        )


def _align_signs(components: Matrix, previous: NDArray[Any] | None) -> Matrix:
    """Return the components (k, d) with deterministic signs, see `fit`."""
    rows = np.arange(len(components))
    # Rounded, so that the last digits do not decide between two equal loadings.
    largest = np.argmax(np.abs(components).round(9), axis=1)
    signed: Matrix = components * np.sign(components[rows, largest])[:, np.newaxis]
    if previous is None or not len(previous):
        return signed
    if previous.shape[1] != components.shape[1]:
        raise ValueError(
            f"previous components have width {previous.shape[1]}, not {components.shape[1]}"
        )
    cosines = signed @ previous.T
    nearest = cosines[rows, np.argmax(np.abs(cosines), axis=1)]
    return np.where((nearest < -_MIN_COSINE)[:, np.newaxis], -signed, signed)
