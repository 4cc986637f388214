"""Convert a fit to a `pyspark.ml.PipelineModel` that any Spark program can load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import SparkSession

from batch_pca.pca.moments import Vector
from batch_pca.pca.projection import Projection

if TYPE_CHECKING:
    from pyspark.ml import PipelineModel


def pipeline_model(
    spark: SparkSession, projection: Projection, explained_variance_ratio: Vector
) -> PipelineModel:
    """Build a pipeline of a StandardScaler (mean and std) and a PCA, which does not center its input.

    A published pipeline is never loaded: Spark ML imports the classes that its metadata names, and a lake may have
    several writers.

    Parameters
    ----------
    spark : SparkSession
    projection : Projection
        The fit, k components of width d.
    explained_variance_ratio : ndarray of shape (k,)
        Share of the variance that each component explains.

    Returns
    -------
    PipelineModel
        Adds ``standardized`` and ``reduced`` to the vector column ``features``, which
        `pyspark.ml.functions.array_to_vector` makes from the array column of the table.
    """
    # Spark ML takes half a second to import, and each Python worker imports this package.
    from pyspark.ml import PipelineModel
    from pyspark.ml.feature import PCAModel, StandardScalerModel

    jvm: Any = spark._jvm
    feature = jvm.org.apache.spark.ml.feature
    linalg = jvm.org.apache.spark.ml.linalg

    def vector(values: Any) -> Any:
        return linalg.DenseVector(_doubles(spark, values))

    # A DenseMatrix is stored by column, and each column is a component: the rows of `components` in order.
    k, width = projection.components.shape
    matrix = linalg.DenseMatrix(width, k, _doubles(spark, projection.components.ravel()))
    scaler = StandardScalerModel(
        feature.StandardScalerModel(
            "pomona_scaler", vector(projection.std), vector(projection.mean)
        )
    )
    scaler._set(inputCol="features", outputCol="standardized", withMean=True, withStd=True)
    pca = PCAModel(feature.PCAModel("pomona_pca", matrix, vector(explained_variance_ratio)))
    pca._set(inputCol="standardized", outputCol="reduced", k=k)
    return PipelineModel([scaler, pca])


def _doubles(spark: SparkSession, values: Any) -> Any:
    """Create a Java double[] in one transfer; py4j would send the numbers one by one."""
    jvm: Any = spark._jvm
    buffer = jvm.java.nio.ByteBuffer.wrap(bytearray(np.asarray(values, dtype=">f8").tobytes()))
    array = spark.sparkContext._gateway.new_array(jvm.double, len(values))  # type: ignore[union-attr]
    buffer.asDoubleBuffer().get(array)
    return array
