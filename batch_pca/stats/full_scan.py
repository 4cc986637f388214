"""Compute sufficient statistics in one pass over the features: per worker, merged on the driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from batch_pca.features.parquet_reader import Part, feature_matrices, filter_prefix, map_parts
from batch_pca.pca.moments import Moments, MomentsBuilder, Vector
from streaming.errors import SnapshotError

_EPSILON = float(np.finfo(np.float64).eps)
# Number of rows whose mean is the shift: close enough to the mean of all rows for accurate sums.
_SHIFT_ROWS = 256
# Each partition sends a matrix of 13 MB to the driver. This bounds their number on large clusters.
_MAX_PARTITIONS = 64


def sum_moments(rows: DataFrame) -> Moments:
    """Sum the sufficient statistics of the column ``features``, as Spark reads it.

    Parameters
    ----------
    rows : DataFrame
        With a column ``features`` of vectors of one width d.

    Raises
    ------
    SnapshotError
        If there are no rows, or a vector contains NaN or infinity.
    """
    vectors = rows.select("features")
    partitions = min(vectors.sparkSession.sparkContext.defaultParallelism, _MAX_PARTITIONS)
    return _merge(vectors.coalesce(partitions).mapInArrow(Summer(), "moments binary"))


def sum_parts(spark: SparkSession, parts: Sequence[Part], prefix: str | None = None) -> Moments:
    """Sum the sufficient statistics of Parquet files, which the Python workers read themselves.

    Parameters
    ----------
    spark : SparkSession
    parts : sequence of Part
        Result of `batch_pca.features.parquet_reader.plan_parts`.
    prefix : str, optional
        Sum only rows whose ``path`` is below this prefix.

    Raises
    ------
    SnapshotError
        See `sum_moments`.
    """
    summer = PartSummer(tuple(parts), prefix)
    return _merge(map_parts(spark, summer, "moments binary", len(parts)))


def _merge(partial: DataFrame) -> Moments:
    if hasattr(
        partial, "toArrow"
    ):  # Spark 4: collect() of rows of 13 MB takes half a second longer
        contents = partial.toArrow()["moments"].to_pylist()
    else:
        contents = [bytes(row.moments) for row in partial.collect()]
    parts = [Moments.from_bytes(content) for content in contents]
    if not parts:
        raise SnapshotError("there are no rows to fit: check --fit-on, or ingest images first")
    # The shift of the largest partition is probably the closest to the mean of all rows.
    shift = max(parts, key=lambda part: part.count).shift
    return reduce(add, (change_shift(part, shift) for part in parts))


def change_shift(moments: Moments, shift: Vector) -> Moments:
    """Convert statistics to another shift of shape (d,)."""
    delta = moments.shift - shift
    if not delta.any():
        return replace(moments, shift=shift)
    product = np.outer(moments.total, delta)
    square = np.outer(delta, delta * moments.count)
    cross = moments.cross + (product + product.T) + square
    terms = moments.cross.diagonal() + 2 * np.abs(product.diagonal()) + square.diagonal()
    return Moments(
        count=moments.count,
        shift=shift,
        total=moments.total + moments.count * delta,
        cross=cross,
        rounding=moments.rounding + 4 * _EPSILON * terms,
    )


def sum_matrices(matrices: Iterable[NDArray[Any]]) -> Moments | None:
    """Sum matrices of shape (n, d), with the mean of the first rows as the shift; return None without rows."""
    builder: MomentsBuilder | None = None
    for matrix in matrices:
        if not len(matrix):
            continue
        if builder is None:
            shift = matrix[:_SHIFT_ROWS].mean(axis=0, dtype=np.float64)
            # MomentsBuilder.add counts and rejects rows that are not finite; the shift must be finite.
            builder = MomentsBuilder(np.where(np.isfinite(shift), shift, 0.0))
        builder.add(matrix)
    return builder.build() if builder else None


def _to_batches(moments: Moments | None) -> Iterator[pa.RecordBatch]:
    if moments is not None:
        yield pa.RecordBatch.from_pydict({"moments": [moments.to_bytes()]})


class Summer:
    """Function for `mapInArrow`: from Arrow batches of one vector column to one row of moments."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum one partition."""
        yield from _to_batches(sum_matrices(feature_matrices(batches, 0)))


@dataclass(frozen=True)
class PartSummer:
    """Function for `map_parts`: from part numbers to one row of moments per part."""

    parts: tuple[Part, ...]
    prefix: str | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum the parts with these numbers."""
        columns = ["features", "path"] if self.prefix else ["features"]
        for batch in batches:
            for number in batch.column(0).to_pylist():
                part = self.parts[number]
                rows = (filter_prefix(read, self.prefix) for read in part.batches(columns))
                yield from _to_batches(sum_matrices(feature_matrices(rows, 0)))
