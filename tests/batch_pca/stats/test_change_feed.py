"""Tests for `batch_pca.stats.change_feed`, against NumPy on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark import SparkContext

from batch_pca.stats.change_feed import sum_changes
from support.lakes.table_rows import frame_of
from support.processes.result_size import result_size

pytestmark = pytest.mark.spark


def test_sums_of_many_cores_fit_into_result_size_of_driver(
    spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(1).normal(3, 0.5, (600, 64)).astype(np.float32)
    kinds = np.array(["insert", "delete", "update_postimage"])[np.arange(600) % 3]
    columns = {"features": pa.array(list(vectors), pa.list_(pa.float32())), "_change_type": kinds}
    feed = frame_of(spark, pa.table(columns)).repartition(70)
    monkeypatch.setattr(SparkContext, "defaultParallelism", 70)
    with result_size(spark, "2m"):  # 140 matrices have 2.8 MB
        changes = sum_changes(feed, np.full(64, 3.0), None, expected=2_000_000)
    for found, rows in (
        (changes.added, vectors[kinds != "delete"]),
        (changes.removed, vectors[kinds == "delete"]),
    ):
        assert found.count == len(rows)
        np.testing.assert_allclose(found.covariance(), np.cov(rows.T.astype(float)), atol=1e-12)
