"""Sum the changes between two versions of the features, from the Change Data Feed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch_pca.features.parquet_reader import below, feature_matrix
from batch_pca.pca.moments import Moments, MomentsBuilder, Vector
from streaming.delta.reader import open_table, read_change_feed
from streaming.lake.layout import Lake

# A replaced row has gone as it was before, and come as it is after.
_COMES = ("insert", "update_postimage")
# Fewer are summed before two workers' matrices of 13 MB have reached the driver.
_ROWS_A_TASK = 4096


@dataclass(frozen=True, eq=False)
class Changes:
    """Statistics of the rows that came, and of those that went."""

    added: Moments
    removed: Moments


def change_feed(spark: SparkSession, lake: Lake, one: int, other: int) -> DataFrame:
    """The changes of the features after one version, up to another, whichever is the earlier.

    Whoever reads it meets an error of Spark where the feed was not on yet, or its files are vacuumed away; some of
    them even where it is loaded.
    """
    return (
        spark.read.format("delta")
        .option("readChangeFeed", "true")
        .option("startingVersion", min(one, other) + 1)
        .option("endingVersion", max(one, other))
        .load(lake.features)
    )


def sum_few_changes(lake: Lake, one: int, other: int, shift: Vector, prefix: str | None) -> Changes:
    """Sum the changes after version `one` up to `other` in this process, without Spark: a few thousand rows at most.

    Parameters are those of `change_feed` and `sum_changes`; whoever calls it meets an error of delta-rs where the
    feed cannot be read.
    """
    summer = ChangeSums(shift)
    table = open_table(lake.features, other)
    for batch in read_change_feed(table, one, ["path", "features", "_change_type"]):
        rows = below(batch, prefix)
        comes = pyarrow.compute.is_in(rows.column(2), value_set=pa.array(_COMES))
        summer.add(rows.column(1), comes)
    return summer.build()


def sum_changes(feed: DataFrame, shift: Vector, prefix: str | None, expected: int) -> Changes:
    """Sum the rows of a change feed.

    Parameters
    ----------
    feed : DataFrame
    shift : ndarray of shape (d,), float64
        What is taken off each row.
    prefix : str or None
        Only rows whose ``path`` lies below this.
    expected : int
        About how many rows there will be: for few, one task is the fastest.
    """
    rows = feed if prefix is None else feed.where(F.col("path").startswith(f"{prefix}/"))
    tasks = min(
        feed.sparkSession.sparkContext.defaultParallelism, math.ceil((expected + 1) / _ROWS_A_TASK)
    )
    comes = F.col("_change_type").isin(*_COMES)
    summed = (
        rows.select("features", comes.alias("comes"))
        .coalesce(tasks)
        .mapInArrow(ChangeSummer(shift), "comes boolean, moments binary")
        .collect()
    )
    sums = {True: Moments.zero(shift), False: Moments.zero(shift)}
    for row in summed:
        sums[row.comes] += Moments.from_bytes(bytes(row.moments))
    return Changes(sums[True], sums[False])


class ChangeSums:
    """The sums of rows that come and of rows that go; `shift` is taken off each."""

    def __init__(self, shift: Vector) -> None:
        self._shift = shift
        self._builders: dict[bool, MomentsBuilder] = {}

    def add(self, features: pa.ListArray, comes: pa.BooleanArray) -> None:
        """Add vectors; `comes` tells of each whether it is there since, or has gone."""
        for side, mask in ((True, comes), (False, pyarrow.compute.invert(comes))):
            chosen = features.filter(mask)
            if len(chosen):
                builder = self._builders.setdefault(side, MomentsBuilder(self._shift))
                builder.add(feature_matrix(chosen))

    def build(self) -> Changes:
        """What has been added up."""
        none = Moments.zero(self._shift)
        built = {side: builder.build() for side, builder in self._builders.items()}
        return Changes(built.get(True, none), built.get(False, none))


@dataclass(frozen=True, eq=False)
class ChangeSummer:
    """What a Python worker does: vectors and whether they come, in; two rows of moments, out."""

    shift: Vector

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum one partition."""
        sums = ChangeSums(self.shift)
        for batch in batches:
            sums.add(batch.column(0), batch.column(1))
        built = sums.build()
        moments = [built.added.to_bytes(), built.removed.to_bytes()]
        yield pa.RecordBatch.from_pydict({"comes": [True, False], "moments": moments})
