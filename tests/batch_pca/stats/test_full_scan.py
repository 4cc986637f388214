"""Tests for `batch_pca.stats.full_scan`, against NumPy on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_pca.pca.moments import Moments
from batch_pca.stats.full_scan import change_shift, sum_moments
from streaming.errors import SnapshotError
from streaming.spark.errors import translate_exception
from support.lakes.table_rows import frame_of

pytestmark = pytest.mark.spark


def frame(spark: Any, vectors: np.ndarray) -> Any:
    """Return a DataFrame with more partitions than cores."""
    table = pa.table({"features": pa.array(list(vectors), pa.list_(pa.float32()))})
    return frame_of(spark, table).repartition(7)


def test_sum_of_partitions_matches_numpy(spark: Any) -> None:
    vectors = np.random.default_rng(1).normal(1000, 0.5, (300, 5)).astype(np.float32)
    vectors[:, 2] = 0.1
    moments = sum_moments(frame(spark, vectors))
    exact = vectors.astype(np.float64)
    assert moments.count == 300
    np.testing.assert_allclose(moments.mean(), exact.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.covariance(), np.cov(exact.T), rtol=1e-10, atol=1e-12)
    assert moments.constant().tolist() == [False, False, True, False, False]


def test_change_of_shift_keeps_statistics() -> None:
    rows = np.random.default_rng(1).normal(3, 0.5, (400, 6))
    rows[:, 2] = 0.1
    near, far = rows[:20].mean(axis=0), np.full(6, 2.5)
    expected = Moments.from_rows(rows, near)
    found = change_shift(Moments.from_rows(rows, far), near)
    np.testing.assert_array_equal(found.shift, near)
    np.testing.assert_allclose(found.mean(), expected.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.covariance(), expected.covariance(), atol=1e-13)
    assert found.constant().tolist() == expected.constant().tolist()
    assert (found.rounding >= Moments.from_rows(rows, far).rounding).all()
    assert (change_shift(expected, near).cross == expected.cross).all()


def test_empty_table_is_rejected(spark: Any) -> None:
    with pytest.raises(SnapshotError, match="no rows to fit: check --fit-on"):
        sum_moments(frame(spark, np.zeros((3, 2))).limit(0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_values_are_rejected(spark: Any, value: float) -> None:
    vectors = np.ones((10, 2), np.float32)
    vectors[4, 1] = value
    with pytest.raises(Exception, match="NaN or infinity") as error:
        sum_moments(frame(spark, vectors))
    assert "rows contain NaN or infinity: ingest their images again" in str(
        translate_exception(error.value)
    )
