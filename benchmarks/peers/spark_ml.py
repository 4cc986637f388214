"""Spark ML: StandardScaler with mean and deviation, then PCA, on the table of the features.

`python -m benchmarks.peers.spark_ml FEATURES COMPONENTS`; FEATURES is a folder of Parquet files.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.stopwatch import Stopwatch


def main() -> None:
    """Fit once."""
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
    # Both stages read the rows; persisted, Spark ML is at its best.
    rows = rows.persist()
    scaler = StandardScaler(inputCol="vector", outputCol="scaled", withMean=True, withStd=True)
    pca = PCA(k=components, inputCol="scaled", outputCol="reduced")
    model: Any = Pipeline(stages=[scaler, pca]).fit(rows)
    ratios = model.stages[1].explainedVariance.toArray()
    watch.stop(rows.count(), explained=float(ratios.sum()))
    spark.stop()


if __name__ == "__main__":
    main()
