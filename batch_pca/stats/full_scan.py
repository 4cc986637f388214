"""Compute sufficient statistics in one pass over the features: per part, merged on the driver.

On a large cluster, the workers merge neighboring parts first, so that the driver collects a limited number of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import RDD
from pyspark.sql import DataFrame, SparkSession

from batch_pca.features.parquet_reader import Part, feature_matrices, filter_prefix
from batch_pca.pca.moments import Moments, MomentsBuilder, Vector
from streaming.errors import SnapshotError

_EPSILON = float(np.finfo(np.float64).eps)
# Number of rows whose mean is the shift: close enough to the mean of all rows for accurate sums.
_SHIFT_ROWS = 256
# Matrices of 6.6 MB that the driver collects at most: 0.4 of the 1 GiB that Spark allows (spark.driver.maxResultSize).
_MAX_MATRICES = 64
# Matrices that one task merges; each takes 13 MB unpacked.
_MERGED_MATRICES = 8

#: Number of a part, or of a group of parts, and the bytes of its moments.
_Numbered = tuple[int, bytes]


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
    partitions = min(vectors.sparkSession.sparkContext.defaultParallelism, _MAX_MATRICES)
    partial = vectors.coalesce(partitions).mapInArrow(Summer(), "moments binary")
    if hasattr(partial, "toArrow"):  # Spark 4: collect() of such rows takes half a second longer
        return _merge(partial.toArrow()["moments"].to_pylist())
    return _merge([bytes(row.moments) for row in partial.collect()])


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
    count = len(parts)
    numbers = spark.sparkContext.parallelize(range(count), count)
    sums = _merge_in_workers(numbers.mapPartitions(PartSummer(tuple(parts), prefix)), count)
    return _merge([content for _, content in sums.collect()])


def _merge_in_workers(sums: RDD[_Numbered], count: int) -> RDD[_Numbered]:
    """Merge groups of neighbors among `count` numbered sums until the driver can collect the rest.

    The result does not depend on the order in which tasks end.
    """
    while count > _MAX_MATRICES:
        count = math.ceil(count / _MERGED_MATRICES)
        sums = sums.partitionBy(count, _group).mapPartitionsWithIndex(_merge_group)
    return sums


def _group(number: int) -> int:
    return number // _MERGED_MATRICES


def _merge_group(group: int, sums: Iterable[_Numbered]) -> Iterator[_Numbered]:
    """Merge the sums of one group in the order of their numbers; the shuffle delivers them in any order."""
    contents = [content for _, content in sorted(sums)]
    if contents:
        yield group, _merge(contents).to_bytes()


def _merge(contents: Sequence[bytes]) -> Moments:
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


class Summer:
    """Function for `mapInArrow`: from Arrow batches of one vector column to one row of moments."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum one partition."""
        moments = sum_matrices(feature_matrices(batches, 0))
        if moments is not None:
            yield pa.RecordBatch.from_pydict({"moments": [moments.to_bytes()]})


@dataclass(frozen=True)
class PartSummer:
    """Function for `RDD.mapPartitions`: from part numbers to number and moments of each part that has rows."""

    parts: tuple[Part, ...]
    prefix: str | None

    def __call__(self, numbers: Iterable[int]) -> Iterator[_Numbered]:
        """Sum the parts with these numbers."""
        columns = ["features", "path"] if self.prefix else ["features"]
        for number in numbers:
            batches = self.parts[number].batches(columns)
            rows = (filter_prefix(batch, self.prefix) for batch in batches)
            moments = sum_matrices(feature_matrices(rows, 0))
            if moments is not None:
                yield number, moments.to_bytes()
