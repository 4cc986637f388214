"""Spark's `predict_batch_udf` in its best case: encoded images as input, ONNX Runtime for inference.

`python -m benchmarks.peers.predict_batch_udf IMAGES MODEL OUT`. Its documentation passes arrays of pixels in a
column. 600 kB per image through Arrow would cost more than the network, so decoding is part of `predict`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring.timing import Stopwatch
from benchmarks.peers.network import features, onnx_session


def main() -> None:
    """Featurize a folder of images."""
    watch = Stopwatch()
    images, model, out = sys.argv[1:4]
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, FloatType

    spark = (
        SparkSession.builder.appName("predict_batch_udf")
        .master("local[*]")
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    shared = spark.sparkContext.broadcast(Path(model, "model.onnx").read_bytes())

    def make_predict() -> Callable[[Any], Any]:
        """Create the session of a worker and return its prediction function."""
        session = onnx_session(shared.value)
        return lambda contents: features(session, [bytes(content) for content in contents])

    predict: Any = predict_batch_udf(
        make_predict, return_type=ArrayType(FloatType()), batch_size=32
    )

    watch.start()
    read = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(images)
    labeled = read.withColumn("label", F.element_at(F.split(read["path"], "/"), -2))
    labeled.select("path", "label", predict("content").alias("features")).write.parquet(out)
    watch.stop(spark.read.parquet(out).count())
    spark.stop()


if __name__ == "__main__":
    main()
