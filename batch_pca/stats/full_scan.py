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

from batch_pca.features.parquet_reader import Part, below, matrices, run_parts
from batch_pca.pca.moments import Moments, MomentsBuilder, Vector
from streaming.errors import SnapshotError

_EPSILON = float(np.finfo(np.float64).eps)
# Rows whose mean is taken off the others: near enough to the mean of all, for the sums to stay exact.
_PROVISIONAL = 256
# Each part brings a matrix of 13 MB to the driver: on larger clusters than this, no more of them.
_MOST_PARTS = 64


def sum_moments(rows: DataFrame) -> Moments:
    """Sum the sufficient statistics of the column ``features``, as Spark reads it.

    Parameters
    ----------
    rows : DataFrame
        With a column ``features``, vectors of one width d.

    Returns
    -------
    Moments

    Raises
    ------
    SnapshotError
        When there are no rows, or a vector holds what is not a number.
    """
    vectors = rows.select("features")
    parts = min(vectors.sparkSession.sparkContext.defaultParallelism, _MOST_PARTS)
    return _merge(vectors.coalesce(parts).mapInArrow(Summer(), "moments binary"))


def sum_parts(spark: SparkSession, parts: Sequence[Part], prefix: str | None = None) -> Moments:
    """Sum the same of Parquet files that the workers read themselves.

    Parameters
    ----------
    spark : SparkSession
    parts : sequence of Part
    prefix : str, optional
        Only rows whose ``path`` lies below this.

    Returns
    -------
    Moments

    Raises
    ------
    SnapshotError
        As `sum_moments`.
    """
    work = PartSummer(tuple(parts), prefix)
    return _merge(run_parts(spark, work, "moments binary", len(parts)))


def _merge(partial: DataFrame) -> Moments:
    if hasattr(partial, "toArrow"):  # from Spark 4 on: rows of 13 MB take half a second longer
        contents = partial.toArrow()["moments"].to_pylist()
    else:
        contents = [bytes(row.moments) for row in partial.collect()]
    parts = [Moments.from_bytes(content) for content in contents]
    if not parts:
        raise SnapshotError("there are no rows to fit: check --fit-on, or ingest images first")
    # The part with most rows has the shift that is nearest to the mean of all, by and large.
    shift = max(parts, key=lambda part: part.count).shift
    return reduce(add, (moved(part, shift) for part in parts))


def moved(moments: Moments, shift: Vector) -> Moments:
    """The same statistics, as if another shift, shape (d,), had been taken off the rows."""
    off = moments.shift - shift
    if not off.any():
        return replace(moments, shift=shift)
    product = np.outer(moments.total, off)
    square = np.outer(off, off * moments.count)
    cross = moments.cross + (product + product.T) + square
    terms = moments.cross.diagonal() + 2 * np.abs(product.diagonal()) + square.diagonal()
    return Moments(
        count=moments.count,
        shift=shift,
        total=moments.total + moments.count * off,
        cross=cross,
        rounding=moments.rounding + 4 * _EPSILON * terms,
    )


def summed(found: Iterable[NDArray[Any]]) -> Moments | None:
    """Sum matrices (n, d) around the mean of the first rows; None where there are none."""
    builder: MomentsBuilder | None = None
    for matrix in found:
        if not len(matrix):
            continue
        if builder is None:
            shift = matrix[:_PROVISIONAL].mean(axis=0, dtype=np.float64)
            # What is not finite is refused, and counted, where the rows are summed.
            builder = MomentsBuilder(np.where(np.isfinite(shift), shift, 0.0))
        builder.add(matrix)
    return builder.build() if builder else None


def _answer(moments: Moments | None) -> Iterator[pa.RecordBatch]:
    if moments is not None:
        yield pa.RecordBatch.from_pydict({"moments": [moments.to_bytes()]})


class Summer:
    """What a Python worker does: Arrow batches of one column of vectors in, one row of moments out."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum one partition."""
        yield from _answer(summed(matrices(batches, 0)))


@dataclass(frozen=True)
class PartSummer:
    """The same for parts of the files, by their numbers."""

    parts: tuple[Part, ...]
    prefix: str | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum the parts with these numbers."""
        columns = ["features", "path"] if self.prefix else ["features"]
        for batch in batches:
            for number in batch.column(0).to_pylist():
                rows = (below(read, self.prefix) for read in self.parts[number].batches(columns))
                yield from _answer(summed(matrices(rows, 0)))
