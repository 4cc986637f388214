"""The fit as a `pyspark.ml.PipelineModel` that any Spark program loads, and the same projection in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pyspark.ml import PipelineModel
from pyspark.ml.feature import PCAModel, StandardScalerModel
from pyspark.sql import DataFrame, SparkSession

from batch_pca.fit import Reduction
from batch_pca.snapshot import feature_matrix

REDUCED_DDL = "path string, label string, reduced array<double>"
_REDUCED = pa.schema(
    [("path", pa.string()), ("label", pa.string()), ("reduced", pa.list_(pa.float64()))]
)


def pipeline_model(spark: SparkSession, reduction: Reduction) -> PipelineModel:
    """Build the pipeline: a StandardScaler (mean and std), then a PCA, which does not centre by itself.

    Returns
    -------
    PipelineModel
        From the vector column ``features`` (`pyspark.ml.functions.array_to_vector` makes it of the
        table's array) to ``standardized`` and ``reduced``.
    """
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


class Broadcast(Protocol):
    """A Spark broadcast of a fit."""

    @property
    def value(self) -> Reduction:
        """The fit."""


class Projector:
    """What a Python worker does: path, label and features in, path, label and reduced vector out."""

    def __init__(self, reduction: Broadcast) -> None:
        self._reduction = reduction

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Project the batches of a partition."""
        for batch in batches:
            if not batch.num_rows:
                continue
            scores = self._reduction.value.transform(feature_matrix(batch.column(2)))
            offsets = np.arange(len(scores) + 1, dtype=np.int32) * scores.shape[1]
            reduced = pa.ListArray.from_arrays(offsets, scores.ravel())
            yield pa.RecordBatch.from_arrays(
                [batch.column(0), batch.column(1), reduced], schema=_REDUCED
            )


def project(rows: DataFrame, reduction: Reduction) -> DataFrame:
    """Reduce every row's features.

    Returns
    -------
    DataFrame
        ``path``, ``label`` and ``reduced`` (array of k doubles), in the order of the paths.
    """
    shared = rows.sparkSession.sparkContext.broadcast(reduction)
    named = rows.select("path", "label", "features")
    return named.mapInArrow(Projector(shared), REDUCED_DDL).orderBy("path")
