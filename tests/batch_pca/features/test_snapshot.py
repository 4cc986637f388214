"""Tests for `batch_pca.features.snapshot`: rows of a pinned version, rows to fit, and rejected versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch_pca.features.snapshot import take_snapshot
from streaming.delta.log import read_commits
from streaming.errors import SnapshotError
from streaming.lake.layout import Lake
from support.lakes.feature_lakes import commit, delete, images, new_lake

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Return a lake with the versions 0 table, 1 property, 2 append, 3 merge, 4 delete, 5 another model, 6 one row."""
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("snapshot"), "My lake"))
    few, more = images(8, seed=1), images(12, seed=1)
    commit(spark, lake, few)
    commit(spark, lake, more, known=True)  # 8 replaced, 4 new
    delete(spark, lake, few.paths[:3])
    commit(spark, lake, images(5, seed=2, model_id="another"))
    delete(spark, lake, more.paths + images(4, seed=2).paths)
    return lake


def test_snapshot_contains_rows_of_its_version(spark: Any, lake: Lake) -> None:
    snapshot = take_snapshot(spark, lake, read_commits(lake.features)[3])
    assert (snapshot.count, snapshot.model_id, snapshot.rows.count()) == (12, "made-up", 12)


def test_rows_to_fit_are_below_the_prefix(spark: Any, lake: Lake) -> None:
    commits = read_commits(lake.features)
    all_rows = take_snapshot(spark, lake, commits[3])
    assert (all_rows.prefix, all_rows.count_to_fit, all_rows.rows_to_fit.count()) == (None, 12, 12)
    filtered = take_snapshot(spark, lake, commits[3], "/photos/Ananas/")
    below = [path for path in images(12, seed=1).paths if path.startswith("file:/photos/Ananas/")]
    assert (filtered.prefix, filtered.count, filtered.count_to_fit) == (
        "file:/photos/Ananas",
        12,
        len(below),
    )
    assert sorted(row.path for row in filtered.rows_to_fit.collect()) == sorted(below)
    with pytest.raises(SnapshotError, match="--fit-on file:/photos/Anan: no row has this prefix"):
        take_snapshot(spark, lake, commits[3], "/photos/Anan")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, "version 1 of file:.*/features has 0 rows, but a fit needs at least 2"),
        (6, "version 6 of file:.*/features has 1 row, but a fit needs at least 2"),
        (
            5,
            "version 5 of file:.*/features contains features of several models.*: another, made-up",
        ),
    ],
)
def test_too_few_rows_and_rows_of_two_models_are_rejected(
    spark: Any, lake: Lake, number: int, message: str
) -> None:
    with pytest.raises(SnapshotError, match=f"^{message}") as error:
        take_snapshot(spark, lake, read_commits(lake.features)[number])
    assert "\n" not in str(error.value)
