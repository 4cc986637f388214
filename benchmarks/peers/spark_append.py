"""Baseline of the latencies: plain Spark with Delta, configured as in its documentation, appends one row.

`python -m benchmarks.peers.spark_append TABLE [REPEATS]`: appends one row, then REPEATS more in the same session.
The first append creates the table. The jars are the same as for Pomona.
"""

from __future__ import annotations

import os
import sys
import time

from benchmarks.measuring.timing import Stopwatch
from streaming.spark.jars import jar_files


def main() -> None:
    """Append the rows one at a time."""
    watch = Stopwatch()
    table, repeats = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.appName("append")
        .master("local[*]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.extraClassPath", os.pathsep.join(map(str, jar_files())))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config(
            "spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
        )
        .getOrCreate()
    )
    ddl = "path string, label string, features array<float>"
    row = ("file:/fruit/Kiwi/1.jpg", "Kiwi", [0.5] * 1280)

    watch.start()
    appends = []
    for _ in range(1 + repeats):
        started = time.time()
        spark.createDataFrame([row], ddl).write.format("delta").mode("append").save(table)
        appends.append(time.time() - started)
    watch.stop(1 + repeats, appends=appends)
    spark.stop()


if __name__ == "__main__":
    main()
