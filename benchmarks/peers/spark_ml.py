"""Spark ML: StandardScaler with mean and standard deviation, then PCA, on the features table.

`python -m benchmarks.peers.spark_ml FEATURES COMPONENTS`; FEATURES is a folder of Parquet files.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.measuring.timing import Stopwatch


def main() -> None:
    """Run one fit."""
    watch = Stopwatch()
    features, components = sys.argv[1], int(sys.argv[2])
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import PCA, StandardScaler
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.appName("spark_ml")
        .master("local[*]")
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    spark.range(1).count()

    watch.start()
    read = spark.read.parquet(features)
    rows = read.select(array_to_vector(read["features"]).alias("vector"))
    # Both stages read the rows, so persisting them is the best case for Spark ML.
    rows = rows.persist()
    scaler = StandardScaler(inputCol="vector", outputCol="scaled", withMean=True, withStd=True)
    pca = PCA(k=components, inputCol="scaled", outputCol="reduced")
    model: Any = Pipeline(stages=[scaler, pca]).fit(rows)
    ratios = model.stages[1].explainedVariance.toArray()
    watch.stop(rows.count(), explained=float(ratios.sum()))
    spark.stop()


if __name__ == "__main__":
    main()
