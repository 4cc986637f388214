"""A snapshot of the features table at a pinned version, and the subset of rows to fit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch_pca.features.parquet_reader import Part, plan_parts
from streaming.counts import format_count
from streaming.delta.reader import open_table, query, quote_literal
from streaming.delta.tables import read_table
from streaming.errors import SnapshotError, TooFewRowsError
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion
from streaming.storage.interface import normalize, prefix_below


@dataclass(frozen=True)
class Snapshot:
    """Rows of the features table at one version; all rows have the same model.

    Attributes
    ----------
    spark : SparkSession
    lake : Lake
    version : ResolvedVersion
    count : int
        Number of rows.
    model_id : str
    prefix : str or None
        Normalized URI. The rows to fit are below it; None for all rows.
    count_to_fit : int
        Number of rows to fit.
    files : tuple of str
        Names of the data files, as they are in the transaction log.
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
        """All rows, read by Spark."""
        return read_table(self.spark, self.lake.features, self.version.number)

    @cached_property
    def parts(self) -> list[Part] | None:
        """All rows as parts of files that the Python workers read; None if only Spark can read them."""
        workers = self.spark.sparkContext.defaultParallelism
        return plan_parts(self.files, self.lake.features, self.count, workers)

    @property
    def rows_to_fit(self) -> DataFrame:
        """The rows below the prefix, read by Spark."""
        if self.prefix is None:
            return self.rows
        return self.rows.where(F.col("path").startswith(prefix_below(self.prefix)))


def take_snapshot(
    spark: SparkSession,
    lake: Lake,
    version: ResolvedVersion,
    fit_on: str | os.PathLike[str] | None = None,
) -> Snapshot:
    """Pin a version of the features, and check that all rows have the same model.

    Parameters
    ----------
    spark : SparkSession
    lake : Lake
    version : ResolvedVersion
    fit_on : str or os.PathLike, optional
        Folder or URI of the rows to fit. Default: all rows.

    Raises
    ------
    TooFewRowsError
        If there are fewer than 2 rows.
    SnapshotError
        If there are rows of several models, or no rows to fit.
    """
    prefix = None if fit_on is None else normalize(fit_on)
    condition = (
        "true" if prefix is None else f"starts_with(path, {quote_literal(prefix_below(prefix))})"
    )
    table = open_table(lake.features, version.number)
    batches = query(
        table,
        f"model_id, count(*) AS rows, count(CASE WHEN {condition} THEN 1 END) AS rows_to_fit",
        "GROUP BY model_id",
    )
    counts = [row for batch in batches for row in batch.to_pylist()]
    total = sum(row["rows"] for row in counts)
    name = f"version {version.number} of {lake.features}"
    if len(counts) > 1:
        models = ", ".join(sorted(row["model_id"] for row in counts))
        raise SnapshotError(
            f"{name} contains features of several models, which cannot be fitted together: {models}; "
            "use one lake per model"
        )
    if total < 2:
        raise TooFewRowsError(
            f"{name} has {format_count(total, 'row')}, but a fit needs at least 2: ingest more images first"
        )
    (only,) = counts
    if not only["rows_to_fit"]:
        raise SnapshotError(f"--fit-on {prefix}: no row has this prefix")
    files = pa.table(table.get_add_actions()).column("path").to_pylist()
    return Snapshot(
        spark=spark,
        lake=lake,
        version=version,
        count=total,
        model_id=only["model_id"],
        prefix=prefix,
        count_to_fit=only["rows_to_fit"],
        files=tuple(files),
    )
