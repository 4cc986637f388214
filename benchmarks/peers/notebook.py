"""The notebook that Pomona replaces: binaryFile, a scalar-iterator pandas UDF, Keras's `predict`, Parquet output.

`python -m benchmarks.peers.notebook IMAGES MODEL OUT`; a copy of the notebook's code with its `repartition(20)`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.measuring.timing import Stopwatch


def build_model() -> Any:
    """Build MobileNetV2 up to its global average pooling, without weights."""
    from keras.applications import MobileNetV2

    return MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))


def preprocess(content: bytes) -> Any:
    """Decode one image for the network."""
    from keras.applications.mobilenet_v2 import preprocess_input
    from keras.utils import img_to_array

    image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224))
    return preprocess_input(img_to_array(image))


def main() -> None:
    """Featurize a folder of images."""
    watch = Stopwatch()
    images, model, out = sys.argv[1:4]
    from pyspark.sql import SparkSession, functions

    F: Any = functions  # the functions used here have no type hints
    spark = (
        SparkSession.builder.appName("notebook")
        .master("local[*]")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.parquet.writeLegacyFormat", "true")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    network = build_model()
    network.load_weights(f"{model}/model.weights.h5")
    weights = spark.sparkContext.broadcast(network.get_weights())

    def featurize_series(network: Any, contents: pd.Series) -> pd.Series:
        """Return the features of one batch."""
        predicted = network.predict(np.stack(contents.map(preprocess)))
        return pd.Series([vector.flatten() for vector in predicted])

    def featurize(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        """Build the network once per task and featurize its batches."""
        network = build_model()
        network.set_weights(weights.value)
        for contents in batches:
            yield featurize_series(network, contents)

    # Not a decorator, because Spark cannot read postponed annotations.
    featurize_udf = F.pandas_udf(featurize, "array<float>", F.PandasUDFType.SCALAR_ITER)

    watch.start()
    read = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(images)
    labeled = read.withColumn("label", F.element_at(F.split(read["path"], "/"), -2))
    features = labeled.repartition(20).select(
        "path", "label", featurize_udf("content").alias("features")
    )
    features.write.mode("overwrite").parquet(out)
    watch.stop(spark.read.parquet(out).count())
    spark.stop()


if __name__ == "__main__":
    main()
