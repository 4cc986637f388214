"""Tests for `batch_pca.refits.transform`: scores and sums by label, against scikit-learn and NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from batch_pca.pca.fit import FitOptions, Reduction, fit
from batch_pca.pca.moments import Moments
from batch_pca.refits.label_means import LabelSums
from batch_pca.refits.transform import Projector
from support.lakes.feature_lakes import Oracle, assert_equal_up_to_sign, images

ROWS = images(60, seed=1)


@dataclass(frozen=True)
class FakeBroadcast:
    """A broadcast variable without Spark."""

    value: Reduction


def test_rows_are_projected_and_summed_by_label() -> None:
    reduction = fit(Moments.from_rows(ROWS.vectors, ROWS.vectors[0]), FitOptions(components=3))
    table = ROWS.table().select(["path", "label", "features"])
    batches = [*table.to_batches(max_chunksize=17), table.slice(0, 0).to_batches()]
    found = list(
        Projector(FakeBroadcast(reduction))(b for b in batches if isinstance(b, pa.RecordBatch))
    )
    *rows, last = pa.Table.from_batches(found).to_pylist()
    assert [row["path"] for row in rows] == ROWS.paths
    assert {row["sums"] for row in rows} == {None}
    vectors = ROWS.vectors.astype(np.float64)
    expected = Oracle.fit(vectors).scores(vectors, 3)
    assert_equal_up_to_sign(np.array([row["reduced"] for row in rows]), expected, axis=0, atol=1e-4)
    assert (last["path"], last["label"], last["reduced"]) == (None, None, None)
    means = LabelSums.from_bytes(last["sums"]).means()
    labels = np.array(ROWS.labels)
    assert set(means) == set(ROWS.labels)
    for label, mean in means.items():
        np.testing.assert_allclose(mean, vectors[labels == label].mean(axis=0), rtol=1e-12)


def test_empty_partition_has_no_sums() -> None:
    reduction = fit(Moments.from_rows(ROWS.vectors, ROWS.vectors[0]), FitOptions(components=3))
    (only,) = Projector(FakeBroadcast(reduction))([])
    assert LabelSums.from_bytes(only.column(3)[0].as_py()).means() == {}
