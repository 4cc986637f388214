"""Sufficient statistics of rows: a count, a sum and a sum of products, which can be merged and subtracted.

StandardScaler and PCA need nothing else. Partitions are summed separately and merged; deleted rows are subtracted
without reading the remaining ones. A sum of squares loses digits if the mean is large compared to the standard
deviation. A provisional mean, the shift, is therefore subtracted from every row before summing. Only statistics
with the same shift can be merged.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.counts import format_count
from streaming.errors import SnapshotError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

BLOCK_ROWS = 1024
_EPSILON = float(np.finfo(np.float64).eps)
# The measured error of summing constant columns is up to 70 units of rounding; this adds a margin.
_BLOCK_ROUNDING = 256 * _EPSILON
_DAMAGE = (AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Moments:
    """Sufficient statistics of `count` rows of width d.

    Attributes
    ----------
    count : int
        Number of rows summed.
    shift : ndarray of shape (d,), float64
        Provisional mean, subtracted from each row before summing.
    total : ndarray of shape (d,), float64
        Sum of ``row - shift``.
    cross : ndarray of shape (d, d), float64
        Sum of the outer products of ``row - shift`` with itself.
    rounding : ndarray of shape (d,), float64
        Upper bound on the rounding error of the diagonal of `cross`. It grows when rows are subtracted, too: a
        column that has become constant must not appear to vary by 1e-9.
    """

    count: int
    shift: Vector
    total: Vector
    cross: Matrix
    rounding: Vector

    @classmethod
    def zero(cls, shift: NDArray[Any]) -> Moments:
        """Return the statistics of zero rows, the neutral element of addition."""
        return MomentsBuilder(shift).build()

    @classmethod
    def from_rows(cls, rows: NDArray[Any], shift: NDArray[Any]) -> Moments:
        """Sum rows of shape (n, d), float32 or float64; raise the errors of `MomentsBuilder.add`."""
        builder = MomentsBuilder(shift)
        builder.add(rows)
        return builder.build()

    def __add__(self, other: Moments) -> Moments:
        """Return the statistics of both sets of rows; raise ValueError if the shifts differ."""
        return self._combine(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        """Return the statistics without the rows of `other`, which must be a subset (not checked).

        Raises
        ------
        ValueError
            If the shifts differ or `other` has more rows.
        """
        if other.count > self.count:
            raise ValueError(
                f"cannot subtract {format_count(other.count, 'row')} from {self.count:,}"
            )
        rest = self._combine(other, -1)
        return rest if rest.count else Moments.zero(self.shift)  # without rounding errors

    def _combine(self, other: Moments, sign: int) -> Moments:
        if not np.array_equal(self.shift, other.shift):
            raise ValueError("moments with different shifts cannot be combined")
        cross = self.cross + other.cross if sign > 0 else self.cross - other.cross
        return Moments(
            count=self.count + sign * other.count,
            shift=self.shift,
            total=self.total + sign * other.total,
            cross=cross,
            rounding=self.rounding + other.rounding + _EPSILON * np.abs(cross.diagonal()),
        )

    def mean(self) -> Vector:
        """Return the mean of each column, shape (d,); raise ValueError without rows."""
        self._require_rows(1)
        return self.shift + self.total / self.count

    def covariance(self) -> Matrix:
        """Return the covariance, shape (d, d), divisor ``count - 1``; raise ValueError below 2 rows."""
        self._require_rows(2)
        result = np.outer(self.total, self.total / -self.count)
        result += self.cross
        return np.divide(result, self.count - 1, out=result)

    def variance(self) -> Vector:
        """Return the diagonal of `covariance`, shape (d,), never negative; raise ValueError below 2 rows."""
        self._require_rows(2)
        squares = self.cross.diagonal() - self.total * (self.total / self.count)
        return np.maximum(squares, 0.0) / (self.count - 1)

    def constant(self) -> NDArray[np.bool_]:
        """Return a mask of the columns that are constant up to rounding, shape (d,); raise ValueError below 2 rows.

        A column is constant by the bound of scikit-learn's StandardScaler (after Chan, Golub and LeVeque), or by
        `rounding`, which is larger if the shift is far from the mean or rows were subtracted.
        """
        squares = self.variance() * (self.count - 1)
        population = squares / self.count
        bound = self.count * _EPSILON * population + (self.count * self.mean() * _EPSILON) ** 2
        result: NDArray[np.bool_] = (population <= bound) | (squares <= self.rounding)
        return result

    def correlation(self) -> Matrix:
        """Return the correlation, shape (d, d), with zeros for constant columns; raise ValueError below 2 rows."""
        varies = ~self.constant()
        scale = np.where(varies, np.sqrt(self.variance()), np.inf)
        result = self.covariance()
        result /= scale
        result /= scale[:, np.newaxis]
        np.fill_diagonal(result, varies)
        return result

    def _require_rows(self, rows: int) -> None:
        if self.count < rows:
            raise ValueError(f"{format_count(self.count, 'row')}, but at least {rows} are needed")

    def _check_shapes(self) -> None:
        """Raise ValueError unless all arrays are of float64 and of the same width."""
        width = self.shift.size
        for name, shape in (
            ("shift", (width,)),
            ("total", (width,)),
            ("rounding", (width,)),
            ("cross", (width, width)),
        ):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float64:
                raise ValueError(f"{name} is an array of {array.dtype} of shape {array.shape}")

    def to_bytes(self) -> bytes:
        """Return the content of an ``.npz`` file: one array per attribute, and of `cross` the upper triangle."""
        arrays = vars(self) | {"cross_upper": self.cross[np.triu_indices(self.shift.size)]}
        del arrays["cross"]
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Moments:
        """Parse the output of `to_bytes`; raise SnapshotError if it is truncated or something else.

        Earlier builds stored the whole of `cross`.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                shift = stored["shift"]
                whole = "cross" in stored
                moments = cls(
                    count=int(stored["count"]),
                    shift=shift,
                    total=stored["total"],
                    cross=stored["cross"] if whole else _unpack(stored["cross_upper"], shift.size),
                    rounding=stored["rounding"],
                )
                moments._check_shapes()
                return moments
        except _DAMAGE as error:
            raise SnapshotError(
                f"cannot read stored statistics of {len(content)} bytes ({error}): refit with --full"
            ) from error


def _unpack(upper: Vector, width: int) -> Matrix:
    """Return the symmetric matrix with this upper triangle; ValueError if the sizes do not match."""
    if upper.shape != (width * (width + 1) // 2,):
        raise ValueError(f"{upper.size} values are not the upper triangle of {width} columns")
    rows, columns = np.triu_indices(width)
    matrix = np.empty((width, width))
    matrix[rows, columns] = upper
    matrix[columns, rows] = upper
    return matrix


def check_finite(rows: NDArray[Any]) -> None:
    """Raise SnapshotError if rows of shape (n, d) contain NaN or infinity."""
    invalid = sum(int(np.sum(~np.isfinite(block).all(axis=1))) for block in _blocks(rows))
    if invalid:
        raise SnapshotError(
            f"NaN or infinity in {invalid:,} of {format_count(len(rows), 'row')}: ingest the images again, "
            "or refit an earlier version"
        )


def _blocks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS))


class MomentsBuilder:
    """Sum rows in place.

    Memory is two (d, d) matrices and one block of rows, independent of the number of rows.

    Parameters
    ----------
    shift : ndarray of shape (d,)
        Provisional mean, such as the mean of some rows. It makes the sums of constant columns exact.

    Raises
    ------
    ValueError
        If the shift is not one row of finite numbers.
    """

    def __init__(self, shift: NDArray[Any]) -> None:
        self._shift: Vector = np.array(shift, dtype=np.float64)
        if self._shift.ndim != 1 or not np.isfinite(self._shift).all():
            raise ValueError("the shift must be one row of finite numbers")
        width = self._shift.size
        self._count = 0
        self._total: Vector = np.zeros(width)
        self._rounding: Vector = np.zeros(width)
        self._cross: Matrix = np.zeros((width, width))
        self._product: Matrix = np.empty((width, width))
        self._centered: Matrix = np.empty((0, width))

    def add(self, rows: NDArray[Any]) -> None:
        """Add rows of shape (n, d), float32 or float64. On an error, no row is added.

        Raises
        ------
        SnapshotError
            If rows contain NaN or infinity.
        ValueError
            If the rows have a different width.
        """
        if rows.ndim != 2 or rows.shape[1] != self._shift.size:
            raise ValueError(f"rows have shape {rows.shape}, expected (n, {self._shift.size})")
        check_finite(rows)
        for block in _blocks(rows):
            self._add_block(block)

    def _add_block(self, rows: NDArray[Any]) -> None:
        if len(self._centered) < len(rows):
            self._centered = np.empty((len(rows), self._shift.size))
        centered = np.subtract(rows, self._shift, out=self._centered[: len(rows)])
        np.matmul(centered.T, centered, out=self._product)
        self._count += len(rows)
        self._total += centered.sum(axis=0)
        self._cross += self._product
        self._rounding += _BLOCK_ROUNDING * self._product.diagonal()
        self._rounding += _EPSILON * self._cross.diagonal()

    def build(self) -> Moments:
        """Return the statistics of the rows added so far; later rows do not change the result."""
        return Moments(
            count=self._count,
            shift=self._shift.copy(),
            total=self._total.copy(),
            cross=self._cross.copy(),
            rounding=self._rounding.copy(),
        )
