"""Sum the changes between two versions of the features, from the Change Data Feed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch_pca.features.parquet_reader import feature_matrix, filter_prefix
from batch_pca.pca.moments import Moments, MomentsBuilder, Vector
from streaming.delta.external_files import check_changes
from streaming.delta.reader import open_table, read_change_feed
from streaming.lake.layout import Lake
from streaming.storage.interface import prefix_below

# The change feed contains a replaced row twice: its preimage counts as removed, its postimage as added.
_ADDED = ("insert", "update_postimage")
# With fewer rows per task, transferring the matrices to the driver takes longer than the sums.
_ROWS_PER_TASK = 4096
# Each task sends two matrices of 6.6 MB to the driver: 0.4 of the 1 GiB that Spark allows (spark.driver.maxResultSize).
_MAX_TASKS = 32


@dataclass(frozen=True, eq=False)
class Changes:
    """Statistics of the added rows and of the removed rows."""

    added: Moments
    removed: Moments


def change_feed(spark: SparkSession, lake: Lake, one: int, other: int) -> DataFrame:
    """Return the changes of the features between two versions, given in any order.

    Spark raises an error if the feed was not enabled yet or its files were vacuumed; some of these errors occur when
    the result is read.
    """
    first, last = min(one, other) + 1, max(one, other)
    check_changes(lake.features, first, last)
    return (
        spark.read.format("delta")
        .option("readChangeFeed", "true")
        .option("startingVersion", first)
        .option("endingVersion", last)
        .load(lake.features)
    )


def sum_few_changes(
    lake: Lake, after: int, until: int, shift: Vector, prefix: str | None
) -> Changes:
    """Sum the changes after version `after` up to version `until` in this process, without Spark.

    Suitable for some 20,000 rows. delta-rs raises an error if the feed cannot be read.

    Parameters
    ----------
    lake : Lake
    after, until : int
        Versions of the features.
    shift : ndarray of shape (d,), float64
        Provisional mean, see `Moments`.
    prefix : str or None
        Sum only rows whose ``path`` is below this prefix.
    """
    sums = ChangeSums(shift)
    table = open_table(lake.features, until)
    for batch in read_change_feed(table, after, ["path", "features", "_change_type"]):
        rows = filter_prefix(batch, prefix)
        added = pyarrow.compute.is_in(rows.column(2), value_set=pa.array(_ADDED))
        sums.add(rows.column(1), added)
    return sums.build()


def sum_changes(feed: DataFrame, shift: Vector, prefix: str | None, expected: int) -> Changes:
    """Sum the rows of a change feed with Spark.

    Parameters
    ----------
    feed : DataFrame
        Result of `change_feed`.
    shift : ndarray of shape (d,), float64
        Provisional mean, see `Moments`.
    prefix : str or None
        Sum only rows whose ``path`` is below this prefix.
    expected : int
        Approximate number of rows, which determines the number of tasks.
    """
    rows = feed if prefix is None else feed.where(F.col("path").startswith(prefix_below(prefix)))
    tasks = min(
        feed.sparkSession.sparkContext.defaultParallelism,
        math.ceil((expected + 1) / _ROWS_PER_TASK),
        _MAX_TASKS,
    )
    added = F.col("_change_type").isin(*_ADDED)
    summed = (
        rows.select("features", added.alias("added"))
        .coalesce(tasks)
        .mapInArrow(ChangeSummer(shift), "added boolean, moments binary")
        .collect()
    )
    sums = {True: Moments.zero(shift), False: Moments.zero(shift)}
    for row in summed:
        sums[row.added] += Moments.from_bytes(bytes(row.moments))
    return Changes(sums[True], sums[False])


class ChangeSums:
    """Sums of added and of removed rows.

    Parameters
    ----------
    shift : ndarray of shape (d,), float64
        Provisional mean, see `Moments`.
    """

    def __init__(self, shift: Vector) -> None:
        self._shift = shift
        self._builders: dict[bool, MomentsBuilder] = {}

    def add(self, features: pa.ListArray, added: pa.BooleanArray) -> None:
        """Add vectors; `added` is true for added rows and false for removed rows."""
        for is_added, mask in ((True, added), (False, pyarrow.compute.invert(added))):
            chosen = features.filter(mask)
            if len(chosen):
                builder = self._builders.setdefault(is_added, MomentsBuilder(self._shift))
                builder.add(feature_matrix(chosen))

    def build(self) -> Changes:
        """Return the sums so far."""
        zero = Moments.zero(self._shift)
        built = {is_added: builder.build() for is_added, builder in self._builders.items()}
        return Changes(built.get(True, zero), built.get(False, zero))


@dataclass(frozen=True, eq=False)
class ChangeSummer:
    """Function for `mapInArrow`: from vectors and their `added` flags to two rows of moments."""

    shift: Vector

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum one partition."""
        sums = ChangeSums(self.shift)
        for batch in batches:
            sums.add(batch.column(0), batch.column(1))
        built = sums.build()
        moments = [built.added.to_bytes(), built.removed.to_bytes()]
        yield pa.RecordBatch.from_pydict({"added": [True, False], "moments": moments})
