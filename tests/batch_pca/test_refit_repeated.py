"""Tests for repeated refits: unchanged rows are not refitted, and components keep their signs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, RefitResult, refit
from support.lakes.feature_lakes import (
    commit,
    delete,
    delta,
    images,
    new_lake,
    refit_folders,
    refit_rows,
)

pytestmark = pytest.mark.spark
TWO = RefitOptions(FitOptions(components=2))


@pytest.mark.long
def test_refit_is_repeated_only_for_changed_rows_or_options(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path)
    commit(spark, lake, images(20, seed=1))
    first = refit(lake.root, TWO)
    spark.sql(f"ALTER TABLE delta.`{lake.features}` SET TBLPROPERTIES ('team' = 'fruits')")
    spark.sql(f"OPTIMIZE delta.`{lake.features}`")
    again = refit(lake.root, TWO)
    assert (first.is_new, again.is_new, again.refit_id) == (True, False, first.refit_id)
    assert refit_folders(lake) == {first.refit_id}
    other = refit(lake.root, RefitOptions(FitOptions(components=1)))
    commit(spark, lake, images(5, seed=2))
    grown = refit(lake.root, TWO)
    delete(spark, lake, images(2, seed=2).paths)
    shrunk = refit(lake.root, TWO)
    assert [(result.is_new, result.row.rows) for result in (other, grown, shrunk)] == [
        (True, 20),
        (True, 25),
        (True, 23),
    ]
    with_as_of = refit(lake.root, RefitOptions(TWO.fit, as_of="2"))
    assert (with_as_of.is_new, with_as_of.refit_id) == (False, first.refit_id)
    published = {result.refit_id for result in (first, other, grown, shrunk)}
    assert refit_folders(lake) == published == set(refit_rows(lake))


@pytest.mark.long
def test_signs_follow_refit_of_same_or_earlier_version(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path)
    commit(spark, lake, images(60, seed=1))
    commit(spark, lake, images(2, seed=2))

    def components(result: RefitResult) -> np.ndarray:
        with np.load(io.BytesIO(result.folder.read("components.npz"))) as arrays:
            return np.asarray(arrays["components"])

    of_3 = refit(lake.root, TWO)
    assert of_3.row.features_version == delta(lake.features).version() == 3
    flipped = io.BytesIO()
    np.savez(flipped, components=-components(of_3))
    of_3.folder.write("components.npz", flipped.getvalue())
    of_2 = refit(lake.root, RefitOptions(TWO.fit, as_of="2"))
    assert (np.sum(components(of_2) * components(of_3), axis=1) < -0.9).all()
    commit(spark, lake, images(2, seed=3))
    of_4 = refit(lake.root, TWO)  # a refit with --as-of in between does not flip signs
    assert (np.sum(components(of_4) * components(of_3), axis=1) > 0.9).all()
