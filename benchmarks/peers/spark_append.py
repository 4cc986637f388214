"""Plain Spark with Delta as its documentation configures it, and an append of one row: what latencies are held against.

`python -m benchmarks.peers.spark_append TABLE [REPEATS]`: appends one row, and REPEATS more in the session that runs.
The table is made by the first append ever; the jars are those that Pomona takes.
"""

from __future__ import annotations

import os
import sys
import time

from benchmarks.stopwatch import Stopwatch
from streaming.spark.jars import jar_files


def main() -> None:
    """Append."""
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
        began = time.time()
        spark.createDataFrame([row], ddl).write.format("delta").mode("append").save(table)
        appends.append(time.time() - began)
    watch.stop(1 + repeats, appends=appends)
    spark.stop()


if __name__ == "__main__":
    main()
