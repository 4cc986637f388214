"""Sufficient statistics of rows: a count, a sum and a sum of products, which can be merged and subtracted.

They are all that StandardScaler and PCA need: parts of a table are summed separately and merged, and deleted rows
are subtracted instead of reading the rest again. A sum of squares loses digits if the mean is large compared to the
standard deviation. Every row is therefore reduced by a provisional mean, the shift; statistics can be merged if
they share a shift.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.errors import SnapshotError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

BLOCK_ROWS = 1024
_EPSILON = float(np.finfo(np.float64).eps)
# Summing constant columns was measured to err by up to 70 units of rounding; with a margin.
_BLOCK_ROUNDING = 256 * _EPSILON
_DAMAGE = (AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Moments:
    """The statistics of `count` rows of width d.

    Attributes
    ----------
    count : int
        Rows summed.
    shift : ndarray of shape (d,), float64
        Provisional mean, taken off each row before summing.
    total : ndarray of shape (d,), float64
        Sum of ``row - shift``.
    cross : ndarray of shape (d, d), float64
        Sum of the outer products of ``row - shift`` with itself.
    rounding : ndarray of shape (d,), float64
        Bound on what rounding may have left in the diagonal of `cross`. It grows even where rows
        are taken away: a column that has become constant must not seem to vary by 1e-9.
    """

    count: int
    shift: Vector
    total: Vector
    cross: Matrix
    rounding: Vector

    @classmethod
    def zero(cls, shift: NDArray[Any]) -> Moments:
        """Return the statistics of no rows, the neutral element of a sum."""
        return MomentsBuilder(shift).build()

    @classmethod
    def of(cls, rows: NDArray[Any], shift: NDArray[Any]) -> Moments:
        """Sum rows of shape (n, d), float32 or float64; errors as `MomentsBuilder.add`."""
        builder = MomentsBuilder(shift)
        builder.add(rows)
        return builder.build()

    def __add__(self, other: Moments) -> Moments:
        """Return the statistics of both sets of rows; ValueError where the shifts differ."""
        return self._combine(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        """Return the statistics without the rows of `other`, which must be among them (unchecked).

        ValueError where the shifts differ or `other` has more rows than there are.
        """
        if other.count > self.count:
            raise ValueError(f"cannot take {other.count} rows away from {self.count}")
        rest = self._combine(other, -1)
        return rest if rest.count else Moments.zero(self.shift)  # no trace of the rows that went

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
        """Return the mean of each column, shape (d,); ValueError without rows."""
        self._require(1)
        return self.shift + self.total / self.count

    def covariance(self) -> Matrix:
        """Return the covariance, shape (d, d), divisor ``count - 1``; ValueError below 2 rows."""
        self._require(2)
        result = np.outer(self.total, self.total / -self.count)
        result += self.cross
        return np.divide(result, self.count - 1, out=result)

    def variance(self) -> Vector:
        """Return the diagonal of `covariance`, shape (d,), never negative; ValueError likewise."""
        self._require(2)
        squares = self.cross.diagonal() - self.total * (self.total / self.count)
        return np.maximum(squares, 0.0) / (self.count - 1)

    def constant(self) -> NDArray[np.bool_]:
        """Return where a column cannot be told from a constant one, (d,); ValueError likewise.

        By scikit-learn's bound for its StandardScaler (after Chan, Golub and LeVeque), or by the
        rounding of these sums, which is larger where the shift is far off or rows were taken away.
        """
        squares = self.variance() * (self.count - 1)
        population = squares / self.count
        bound = self.count * _EPSILON * population + (self.count * self.mean() * _EPSILON) ** 2
        result: NDArray[np.bool_] = (population <= bound) | (squares <= self.rounding)
        return result

    def _require(self, rows: int) -> None:
        if self.count < rows:
            raise ValueError(f"{self.count} rows where {rows} are needed")

    def to_bytes(self) -> bytes:
        """Return the content of an ``.npz`` file with one array for each attribute."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **vars(self))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Moments:
        """Read what `to_bytes` wrote; SnapshotError where it is cut short or something else."""
        names = ("shift", "total", "cross", "rounding")
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                return cls(int(stored["count"]), *(stored[name] for name in names))
        except _DAMAGE as error:
            reason = f"stored moments of {len(content)} bytes cannot be read ({error})"
            raise SnapshotError(f"{reason}: refit from all rows instead") from error


class MomentsBuilder:
    """Sums rows in place, in the memory of two (d, d) matrices and a block, whatever the rows.

    Parameters
    ----------
    shift : ndarray of shape (d,)
        Provisional mean, such as the mean of some rows, which makes constant columns exact.
    """

    def __init__(self, shift: NDArray[Any]) -> None:
        """Start with no rows; ValueError where the shift is not one row of finite numbers."""
        self._shift: Vector = np.array(shift, dtype=np.float64)
        if self._shift.ndim != 1 or not np.isfinite(self._shift).all():
            raise ValueError("the shift is one row of finite numbers")
        width = self._shift.size
        self._count = 0
        self._total: Vector = np.zeros(width)
        self._rounding: Vector = np.zeros(width)
        self._cross: Matrix = np.zeros((width, width))
        self._product: Matrix = np.empty((width, width))
        self._centred: Matrix = np.empty((0, width))

    def add(self, rows: NDArray[Any]) -> None:
        """Add rows of shape (n, d), float32 or float64; on an error, none of them is added.

        SnapshotError where rows hold NaN or infinity; ValueError where they have another width.
        """
        if rows.ndim != 2 or rows.shape[1] != self._shift.size:
            raise ValueError(f"rows of shape {rows.shape} where (n, {self._shift.size}) is needed")
        blocks = [rows[at : at + BLOCK_ROWS] for at in range(0, len(rows), BLOCK_ROWS)]
        refused = sum(int(np.sum(~np.isfinite(block).all(axis=1))) for block in blocks)
        if refused:
            raise SnapshotError(
                f"{refused} of {len(rows)} rows hold NaN or infinity: ingest their images again, "
                "or refit a version from before them"
            )
        for block in blocks:
            self._add_block(block)

    def _add_block(self, rows: NDArray[Any]) -> None:
        if len(self._centred) < len(rows):
            self._centred = np.empty((len(rows), self._shift.size))
        centred = np.subtract(rows, self._shift, out=self._centred[: len(rows)])
        np.matmul(centred.T, centred, out=self._product)
        self._count += len(rows)
        self._total += centred.sum(axis=0)
        self._cross += self._product
        self._rounding += _BLOCK_ROUNDING * self._product.diagonal()
        self._rounding += _EPSILON * self._cross.diagonal()

    def build(self) -> Moments:
        """Return the statistics so far, which later rows do not change."""
        arrays = (self._shift, self._total, self._cross, self._rounding)
        return Moments(self._count, *(array.copy() for array in arrays))
