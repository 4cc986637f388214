"""Tests for `batch_pca.stats.full_scan`, against NumPy on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from batch_pca.features.parquet_reader import Part, Slice, split_evenly
from batch_pca.pca.moments import Moments
from batch_pca.stats.full_scan import (
    _merge,
    _merge_in_workers,
    change_shift,
    sum_moments,
    sum_parts,
)
from streaming.errors import SnapshotError
from streaming.spark.errors import translate_exception
from support.lakes.table_rows import frame_of
from support.processes.result_size import result_size

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


def write_parts(folder: Path, vectors: np.ndarray, count: int) -> list[Part]:
    """Write vectors to one file, each quarter with a prefix of its own, and split it into parts."""
    paths = [f"file:/photos/{4 * row // len(vectors)}/{row}.jpg" for row in range(len(vectors))]
    table = pa.table({"path": paths, "features": pa.array(list(vectors), pa.list_(pa.float32()))})
    pa.parquet.write_table(table, folder / "rows.parquet")
    return split_evenly([Slice(f"file:{folder}/rows.parquet", 0, 0, len(vectors))], count)


def test_sums_of_many_cores_fit_into_result_size_of_driver(spark: Any, tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(3, 0.5, (600, 64)).astype(np.float32)
    parts = write_parts(tmp_path, vectors, 70)
    with result_size(spark, "1m"):  # 70 matrices have 1.4 MB
        moments = sum_parts(spark, parts)
        below = sum_parts(spark, parts, "file:/photos/2")  # of most parts, no row
        with pytest.raises(SnapshotError, match="no rows to fit: check --fit-on"):
            sum_parts(spark, parts, "file:/photos/absent")
    for found, rows in ((moments, vectors), (below, vectors[300:450])):
        exact = rows.astype(np.float64)
        assert found.count == len(rows)
        np.testing.assert_allclose(found.mean(), exact.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance(), np.cov(exact.T), rtol=1e-10, atol=1e-12)


def test_sums_are_merged_in_rounds_in_the_same_order(spark: Any) -> None:
    rows = np.random.default_rng(1).normal(3, 0.5, (600, 5, 4))
    sums = [(n, Moments.from_rows(part, part[0]).to_bytes()) for n, part in enumerate(rows)]
    once, again = (
        _merge_in_workers(spark.sparkContext.parallelize(order, 3), 600).collect()
        for order in (sums, sums[::-1])
    )
    assert [number for number, _ in once] == list(range(10))  # 600, 75, 10
    assert once == again
    merged = _merge([content for _, content in once])
    np.testing.assert_allclose(merged.covariance(), np.cov(rows.reshape(-1, 4).T), rtol=1e-12)


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
    assert "rows: ingest the images again" in str(translate_exception(error.value))
