"""Finish moves between features and quarantine that a killed run interrupted."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from streaming.delta.tables import read_table
from streaming.delta.writer import Writer
from streaming.lake.layout import Lake


def finish_interrupted_moves(spark: SparkSession, lake: Lake) -> int:
    """Delete the older row of each image that has a row in both tables; return the number of these images."""
    both = (
        read_table(spark, lake.features)
        .select("path", F.col("ingested_at").alias("featurized_at"))
        .join(read_table(spark, lake.quarantine).select("path", "ingested_at"), "path")
        .collect()
    )
    for location, stale in (
        (lake.features, [row.path for row in both if row.featurized_at < row.ingested_at]),
        (lake.quarantine, [row.path for row in both if row.featurized_at >= row.ingested_at]),
    ):
        if stale:
            Writer(spark, location, {"moved": len(stale)}).delete(stale)
    return len(both)
