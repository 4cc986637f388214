"""Convert a fit to a `pyspark.ml.PipelineModel` that any Spark program can load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import SparkSession

from batch_pca.pca.fit import Reduction

if TYPE_CHECKING:
    from pyspark.ml import PipelineModel


def pipeline_model(spark: SparkSession, reduction: Reduction) -> PipelineModel:
    """Build the pipeline: a StandardScaler (mean and std), then a PCA, which does not centre by itself.

    Returns
    -------
    PipelineModel
        From the vector column ``features`` (`pyspark.ml.functions.array_to_vector` makes it of the
        table's array) to ``standardized`` and ``reduced``.
    """
    # Spark ML takes half a second to import, and each Python worker imports this package.
    from pyspark.ml import PipelineModel
    from pyspark.ml.feature import PCAModel, StandardScalerModel

    jvm: Any = spark._jvm
    feature = jvm.org.apache.spark.ml.feature
    linalg = jvm.org.apache.spark.ml.linalg

    def vector(values: Any) -> Any:
        return linalg.DenseVector(_doubles(spark, values))

    # A DenseMatrix lies column by column, and a component is a column of it: the rows of ours, in order.
    k, width = reduction.components.shape
    matrix = linalg.DenseMatrix(width, k, _doubles(spark, reduction.components.ravel()))
    scaler = StandardScalerModel(
        feature.StandardScalerModel("pomona_scaler", vector(reduction.std), vector(reduction.mean))
    )
    scaler._set(inputCol="features", outputCol="standardized", withMean=True, withStd=True)
    ratio = reduction.explained_variance_ratio[:k]
    pca = PCAModel(feature.PCAModel("pomona_pca", matrix, vector(ratio)))
    pca._set(inputCol="standardized", outputCol="reduced", k=k)
    return PipelineModel([scaler, pca])


def _doubles(spark: SparkSession, values: Any) -> Any:
    """A Java double[] in one transfer; py4j would send each number by itself."""
    jvm: Any = spark._jvm
    buffer = jvm.java.nio.ByteBuffer.wrap(bytearray(np.asarray(values, dtype=">f8").tobytes()))
    array = spark.sparkContext._gateway.new_array(jvm.double, len(values))  # type: ignore[union-attr]
    buffer.asDoubleBuffer().get(array)
    return array
