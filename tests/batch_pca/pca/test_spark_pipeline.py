"""Tests for `batch_pca.pca.spark_pipeline`: the published pipeline in Spark, compared with Spark's own fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import functions as F

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import RefitRow
from support.lakes.feature_lakes import (
    CONSTANT,
    WIDTH,
    Oracle,
    assert_equal_up_to_sign,
    commit,
    images,
    new_lake,
)

pytestmark = pytest.mark.spark
IMAGES = images(90, seed=1)
K = 4


@pytest.fixture(scope="module")
def row(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> RefitRow:
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("pipeline"), "My lake"))
    commit(spark, lake, IMAGES)
    return refit(lake.root, RefitOptions(FitOptions(components=K))).row


@pytest.fixture(scope="module")
def vectors(spark: Any, row: RefitRow) -> Any:
    """Return the features as a vector column."""
    rows = spark.read.format("delta").load(row.lake.features)
    return (
        rows.select("path", array_to_vector(F.col("features")).alias("features"))
        .orderBy("path")
        .cache()
    )


def scores_of(model: Any, vectors: Any) -> np.ndarray:
    """Return scores of shape (n, k), sorted by path."""
    rows = model.transform(vectors).select(
        "path", vector_to_array(F.col("reduced")).alias("reduced")
    )
    return np.array([row.reduced for row in sorted(rows.collect(), key=lambda row: row.path)])


@pytest.fixture(scope="module")
def loaded(row: RefitRow, vectors: Any) -> np.ndarray:
    return scores_of(PipelineModel.load(row.folder.pipeline), vectors)


def test_loaded_pipeline_gives_published_parquet(
    spark: Any, row: RefitRow, loaded: np.ndarray
) -> None:
    rows = sorted(spark.read.parquet(row.folder.parquet).collect(), key=lambda r: r.path)
    assert [row.path for row in rows] == sorted(IMAGES.paths)
    published = np.array([row.reduced for row in rows])
    assert published.shape == (90, K)
    np.testing.assert_allclose(loaded, published, atol=1e-9, rtol=0)


def test_pipeline_scores_match_scikit_learn(loaded: np.ndarray) -> None:
    rows = IMAGES.vectors[np.argsort(IMAGES.paths)].astype(np.float64)
    assert_equal_up_to_sign(loaded, Oracle.fit(rows).scores(rows, K), axis=0, atol=1e-6)


def test_pipeline_matches_fit_of_spark(row: RefitRow, vectors: Any, loaded: np.ndarray) -> None:
    scaler = StandardScaler(
        inputCol="features", outputCol="standardized", withMean=True, withStd=True
    )
    pca = PCA(k=K, inputCol="standardized", outputCol="reduced")
    expected = Pipeline(stages=[scaler, pca]).fit(vectors)
    assert_equal_up_to_sign(loaded, scores_of(expected, vectors), axis=0, atol=1e-6)
    actual: Any = PipelineModel.load(row.folder.pipeline).stages
    expected_stages: Any = expected.stages
    np.testing.assert_allclose(
        actual[0].mean.toArray(), expected_stages[0].mean.toArray(), atol=1e-9
    )
    np.testing.assert_allclose(actual[0].std.toArray(), expected_stages[0].std.toArray(), atol=1e-7)
    assert actual[0].std.toArray()[list(CONSTANT)].tolist() == [0.0] * len(CONSTANT)
    assert_equal_up_to_sign(
        actual[1].pc.toArray(), expected_stages[1].pc.toArray(), axis=0, atol=1e-6
    )
    np.testing.assert_allclose(
        actual[1].explainedVariance.toArray(),
        expected_stages[1].explainedVariance.toArray(),
        atol=1e-9,
    )
    assert actual[1].pc.toArray().shape == (WIDTH, K)
