"""A snapshot of the features table at a pinned version, and the subset of rows to fit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch_pca.features.parquet_reader import Part, plan_parts
from streaming.delta.reader import open_table, query, quote_literal
from streaming.delta.tables import read_table
from streaming.errors import SnapshotError
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion
from streaming.storage.interface import normalize


@dataclass(frozen=True)
class Snapshot:
    """Rows of the features table at one version, of one model.

    Attributes
    ----------
    lake : Lake
    version : ResolvedVersion
    count : int
        How many rows there are.
    model_id : str
    prefix : str or None
        The rows to fit are those below this normalized URI, or all.
    count_to_fit : int
        How many those are.
    files : tuple of str
        The version's files, as its log names them.
    """

    spark: SparkSession
    lake: Lake
    version: ResolvedVersion
    count: int
    model_id: str
    prefix: str | None
    count_to_fit: int
    files: tuple[str, ...]

    @cached_property
    def rows(self) -> DataFrame:
        """All rows, as Spark reads them."""
        return read_table(self.spark, self.lake.features, self.version.number)

    @cached_property
    def parts(self) -> list[Part] | None:
        """What the workers read of its files, all rows; None where only Spark can read them."""
        workers = self.spark.sparkContext.defaultParallelism
        return plan_parts(self.files, self.lake.features, self.count, workers)

    @property
    def rows_to_fit(self) -> DataFrame:
        """Those below the prefix."""
        if self.prefix is None:
            return self.rows
        return self.rows.where(F.col("path").startswith(f"{self.prefix}/"))


def take_snapshot(
    spark: SparkSession, lake: Lake, version: ResolvedVersion, fit_on: str | None = None
) -> Snapshot:
    """Pin a version of the features, and make sure that one model made all of them.

    Parameters
    ----------
    spark : SparkSession
    lake : Lake
    version : ResolvedVersion
    fit_on : str, optional
        Folder or URI below which the rows to fit lie.

    Raises
    ------
    SnapshotError
        Fewer than 2 rows, rows of two models, or none to fit.
    """
    prefix = normalize(fit_on) if fit_on else None
    fitted = f"starts_with(path, {quote_literal(prefix + '/')})" if prefix else "true"
    table = open_table(lake.features, version.number)
    counted = query(
        table,
        f"model_id, count(*) AS rows, count(CASE WHEN {fitted} THEN 1 END) AS fitted",
        "GROUP BY model_id",
    )
    counts = [row for batch in counted for row in batch.to_pylist()]
    total = sum(row["rows"] for row in counts)
    of = f"version {version.number} of {lake.features}"
    if len(counts) > 1:
        models = ", ".join(sorted(row["model_id"] for row in counts))
        raise SnapshotError(
            f"{of} mixes the models {models}: "
            "features of different models cannot be fitted together; use a lake for each"
        )
    if total < 2:
        raise SnapshotError(
            f"{of} has {total} rows, and a fit needs 2 or more: ingest more images first"
        )
    (found,) = counts
    if not found["fitted"]:
        raise SnapshotError(f"--fit-on {prefix}: no row has this prefix")
    files = pa.table(table.get_add_actions()).column("path").to_pylist()
    return Snapshot(
        *(spark, lake, version, total, found["model_id"], prefix, found["fitted"], tuple(files))
    )
