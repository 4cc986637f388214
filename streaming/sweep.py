"""What the stream does not deliver: empty, replaced and long-dated files, and moves that were cut in two."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from streaming.commit import Writer
from streaming.lake import Lake, read_table
from streaming.microbatch import known_images
from streaming.source import Source
from streaming.storage import StoredFile

_LISTED = "path string, length long, modified_ms long"


def missing_or_changed(spark: SparkSession, source: Source, lake: Lake) -> list[StoredFile]:
    """Compare one listing of the source with both tables, by path, length and modification time.

    Returns
    -------
    list of StoredFile
        Images that are in neither table, or in one as they were before.
    """
    listed = spark.createDataFrame(
        [(f.path, f.length, f.modified_ms) for f in source.images()], _LISTED
    )
    current = known_images(spark, lake).select("path", "length", "modified_ms")
    rows = listed.join(current, ["path", "length", "modified_ms"], "left_anti").collect()
    return [StoredFile(*row) for row in rows]


def finish_moves(spark: SparkSession, lake: Lake) -> int:
    """Finish moves between the tables: an image that is in both keeps the row that was made last.

    Returns
    -------
    int
        How many images were in both tables.
    """
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
