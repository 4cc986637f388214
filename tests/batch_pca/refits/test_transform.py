"""Tests for `batch_pca.refits.transform`: scores and sums by label, against scikit-learn and NumPy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

from batch_pca.pca.fit import FitOptions, Reduction, fit
from batch_pca.pca.moments import Moments
from batch_pca.refits import transform
from batch_pca.refits.label_means import LabelSums
from batch_pca.refits.transform import Partitioning, Projector, from_ipc
from streaming.errors import SnapshotError
from support.lakes.feature_lakes import Images, Oracle, assert_equal_up_to_sign, images

ROWS = images(60, seed=1)
REDUCTION = fit(Moments.from_rows(ROWS.vectors, ROWS.vectors[0]), FitOptions(components=3))


@dataclass(frozen=True)
class FakeBroadcast:
    """A broadcast variable without Spark."""

    value: Reduction


def project(
    partitioning: Partitioning, rows: Images = ROWS
) -> tuple[dict[int, pa.Table], LabelSums]:
    """Project all rows; return the rows of each partition, and the sums by label."""
    table = rows.table().select(["path", "label", "features"])
    batches = [*table.to_batches(max_chunksize=17), *table.slice(0, 1).to_batches()[:0]]
    *found, (number, sums) = Projector(FakeBroadcast(REDUCTION), partitioning)(batches)
    assert number == partitioning.sums == len(partitioning.boundaries) + 1
    by_number: dict[int, list[pa.Table]] = {}
    for key, content in found:
        by_number.setdefault(key, []).append(from_ipc(content))
    tables = {key: pa.concat_tables(each) for key, each in by_number.items()}
    return tables, LabelSums.from_bytes(sums)


def test_rows_are_projected_and_summed_by_label() -> None:
    tables, sums = project(Partitioning())
    assert list(tables) == [0]
    assert tables[0].column("path").to_pylist() == ROWS.paths
    assert tables[0].column("label").to_pylist() == ROWS.labels
    vectors = ROWS.vectors.astype(np.float64)
    expected = Oracle.fit(vectors).scores(vectors, 3)
    scores = np.array(tables[0].column("reduced").to_pylist())
    assert_equal_up_to_sign(scores, expected, axis=0, atol=1e-4)
    means = sums.means()
    labels = np.array(ROWS.labels)
    assert set(means) == set(ROWS.labels)
    for label, mean in means.items():
        np.testing.assert_allclose(mean, vectors[labels == label].mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("split_bytes", [1, 8 * 2**20])  # after each batch, and once
def test_rows_are_partitioned_by_utf8_of_path(
    split_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transform, "_SPLIT_BYTES", split_bytes)
    ordered = sorted(ROWS.paths, key=str.encode)
    first, second = ordered[20], ordered[21]
    tables, _ = project(Partitioning((first.encode(), second.encode(), b"\xff")))
    found = {
        key: sorted(table.column("path").to_pylist(), key=str.encode)
        for key, table in tables.items()
    }
    assert found == {0: ordered[:20], 1: [first], 2: ordered[21:]}  # none above the last boundary


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_row_that_is_not_finite_is_rejected(value: float) -> None:
    vectors = ROWS.vectors.copy()
    vectors[41, 5] = value
    with pytest.raises(SnapshotError, match="NaN or infinity in 1 of 17 rows: ingest"):
        project(Partitioning(), replace(ROWS, vectors=vectors))


def test_empty_partition_has_no_sums() -> None:
    ((number, only),) = Projector(FakeBroadcast(REDUCTION), Partitioning())([])
    assert number == 1
    assert LabelSums.from_bytes(only).means() == {}
