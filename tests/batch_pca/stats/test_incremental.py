"""Tests for `batch_pca.stats.incremental`, against NumPy and scikit-learn on rows read by delta-rs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_pca.features.snapshot import take_snapshot
from batch_pca.pca.fit import FitOptions, fit
from batch_pca.pca.moments import Moments
from batch_pca.refit import RefitOptions
from batch_pca.refits.catalog import RefitRow
from batch_pca.stats import incremental
from batch_pca.stats.incremental import Statistics, commits_to_read, compute_statistics
from streaming.delta.log import read_commits
from streaming.lake.layout import Lake
from streaming.storage.interface import local_path
from support.lakes.feature_lakes import (
    CONSTANT,
    Images,
    Oracle,
    commit,
    delete,
    images,
    new_lake,
    vectors_of,
)

pytestmark = pytest.mark.spark
WIDTH = 24


def draw(count: int, seed: int, below: str = "file:/photos") -> Images:
    return images(count, seed=seed, below=below, width=WIDTH)


@dataclass
class Fitting:
    """A lake and its refits, of which only the statistics are stored."""

    spark: Any
    lake: Lake
    fit_on: str | None = None
    refits: tuple[RefitRow, ...] = ()

    def refit(self, *, full: bool = False, commits_read: int = 64) -> Statistics:
        """Compute the statistics of the latest version, and store them as a refit."""
        commits = read_commits(self.lake.features, commits_read)
        snapshot = take_snapshot(self.spark, self.lake, commits[-1], self.fit_on)
        found = compute_statistics(snapshot, list(self.refits), commits, full=full)
        row = RefitRow(
            refit_id=f"refit-{len(self.refits)}",
            lake=self.lake,
            features_version=commits[-1].number,
            features_timestamp=datetime.now(UTC),
            model_id=snapshot.model_id,
            parameters=RefitOptions(fit_on=self.fit_on).as_json(),
            rows=snapshot.count,
            rows_fitted=found.moments.count,
            explained_variance_ratio=(1.0,),
            created_at=datetime.now(UTC),
            pomona_version="0.1",
        )
        row.folder.write("moments.npz", found.moments.to_bytes())
        self.refits += (row,)
        return found

    def rewrite(self, change: Callable[[Moments], Moments]) -> None:
        """Change the stored statistics of the last refit."""
        folder = self.refits[-1].folder
        stored = Moments.from_bytes(folder.read("moments.npz"))
        folder.write("moments.npz", change(stored).to_bytes())


def check(found: Statistics, rows: np.ndarray) -> None:
    """Assert that the statistics match those of the rows within 1e-8."""
    moments = found.moments
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean(), rows.mean(axis=0), rtol=1e-8)
    expected = np.cov(rows.T)
    np.testing.assert_allclose(
        moments.covariance(), expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max()
    )
    varies = np.ptp(rows, axis=0) > 0
    assert moments.constant().tolist() == (~varies).tolist()
    reduction, oracle = fit(moments, FitOptions(variance=1.0)), Oracle.fit(rows)
    values = np.linalg.eigvalsh(np.corrcoef(rows[:, varies].T))[::-1]
    np.testing.assert_allclose(reduction.explained_variance, values, rtol=1e-8)
    np.testing.assert_allclose(
        reduction.explained_variance_ratio,
        oracle.pca.explained_variance_ratio_[: len(values)],
        rtol=1e-8,
    )


@pytest.fixture(scope="module")
def template(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Fitting:
    """A lake of 200 rows with one refit. To be copied, not to be used."""
    lake = new_lake(spark, tmp_path_factory.mktemp("template") / "lake", WIDTH)
    commit(spark, lake, draw(200, seed=0))
    fitting = Fitting(spark, lake)
    assert fitting.refit().kind == "full"
    return fitting


@pytest.fixture
def fitting(template: Fitting, tmp_path: Path) -> Fitting:
    """Return a lake of 200 rows with one refit."""
    lake = Lake.at(str(tmp_path / "My lake"))
    shutil.copytree(local_path(template.lake.root), local_path(lake.root))
    return Fitting(template.spark, lake, refits=(replace(template.refits[0], lake=lake),))


@pytest.mark.long
@pytest.mark.slow
def test_statistics_after_ten_changes_match_full_scan(spark: Any, fitting: Fitting) -> None:
    random = np.random.default_rng(5)
    kinds = random.permutation(["append"] * 4 + ["replace"] * 3 + ["delete"] * 3)
    paths = {path: 0 for path in draw(200, seed=0).paths}
    for number, kind in enumerate(kinds, start=1):
        chosen = [str(path) for path in random.choice(sorted(paths), 11, replace=False)]
        if kind == "append":
            rows = draw(13, seed=number)
            commit(spark, fitting.lake, rows)
            paths |= dict.fromkeys(rows.paths, number)
        elif kind == "replace":
            rows = draw(11, seed=1000 + number)
            commit(spark, fitting.lake, replace(rows, paths=chosen), known=True)
        else:
            delete(spark, fitting.lake, chosen)
            paths = {path: seed for path, seed in paths.items() if path not in chosen}
        found = fitting.refit()
        assert (found.kind, found.refit_id) == ("incremental", f"refit-{number - 1}"), (
            found.description
        )
        check(found, vectors_of(fitting.lake))
    last = fitting.refit(full=True)
    assert (last.kind, last.refit_id) == ("full", None)
    check(last, vectors_of(fitting.lake))
    assert set(CONSTANT) <= set(np.flatnonzero(found.moments.constant()))


def test_feed_of_many_rows_is_summed_by_workers(
    spark: Any, fitting: Fitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(spark, fitting.lake, draw(10, seed=1))
    commit(spark, fitting.lake, replace(draw(4, seed=2), paths=draw(4, seed=0).paths), known=True)
    delete(spark, fitting.lake, draw(3, seed=1).paths)
    monkeypatch.setattr(incremental, "_MAX_ROWS_WITHOUT_SPARK", 20)
    monkeypatch.setattr(incremental, "sum_few_changes", None)
    found = fitting.refit()
    assert found.description == "14 rows added, 7 removed since refit refit-0"
    check(found, vectors_of(fitting.lake))


def test_several_commits_and_no_commit_since_last_refit(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(10, seed=1))
    commit(spark, fitting.lake, replace(draw(4, seed=2), paths=draw(4, seed=0).paths), known=True)
    spark.sql(f"OPTIMIZE delta.`{fitting.lake.features}`")
    delete(spark, fitting.lake, draw(3, seed=1).paths)
    found = fitting.refit()
    assert found.description == "14 rows added, 7 removed since refit refit-0"
    check(found, vectors_of(fitting.lake))
    unchanged = fitting.refit()
    assert unchanged.description == "0 rows added, 0 removed since refit refit-1"
    assert unchanged.moments.to_bytes() == found.moments.to_bytes()


def test_only_changes_below_prefix_are_summed(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(80, seed=1, below="file:/photos/new"))
    below = Fitting(spark, fitting.lake, "/photos/new", fitting.refits)
    first = below.refit()
    assert first.description == "all 80 rows read (no earlier refit of these rows)"
    commit(spark, fitting.lake, draw(6, seed=2, below="file:/photos/new"))
    commit(spark, fitting.lake, draw(9, seed=3, below="file:/photos/newer"))
    found = below.refit()
    assert found.description == "6 rows added, 0 removed since refit refit-1"
    check(found, vectors_of(fitting.lake, below="file:/photos/new/"))


def test_latest_refit_with_intact_statistics_is_used(spark: Any, fitting: Fitting) -> None:
    for number in (1, 2):
        commit(spark, fitting.lake, draw(5, seed=number))
        fitting.refit()
    assert fitting.refit().refit_id == "refit-2"
    fitting.refits = fitting.refits[:3]
    fitting.refits[2].folder.write("moments.npz", b"damaged")
    assert fitting.refit().refit_id == "refit-1"
    fitting.refits = (fitting.refits[0], replace(fitting.refits[1], model_id="another"))
    assert fitting.refit().refit_id == "refit-0"
    later = replace(fitting.refits[0], features_version=10**6)
    fitting.refits = (later,)
    assert "no earlier refit" in fitting.refit().description


def assert_full_scan(fitting: Fitting, reason: str) -> None:
    """Assert that the next refit reads all rows for this reason and that its statistics are correct."""
    found = fitting.refit()
    assert (found.kind, found.refit_id) == ("full", None)
    assert reason in found.description
    check(found, vectors_of(fitting.lake))


def test_missing_or_damaged_statistics_cause_full_scan(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(5, seed=1))
    intact = fitting.refits[0].folder.read("moments.npz")
    first = fitting.refits
    value = intact.index(b"cross_upper.npy") + 300
    for damaged in (b"", intact[:-100], intact[:value] + b"\x01" + intact[value + 1 :]):
        first[0].folder.write("moments.npz", damaged)
        fitting.refits = first
        assert_full_scan(fitting, "of refit refit-0 are missing or damaged")
    Path(first[0].folder.uri.removeprefix("file:"), "moments.npz").unlink()
    fitting.refits = first
    assert_full_scan(fitting, "of refit refit-0 are missing or damaged")


def test_vacuumed_feed_causes_full_scan(spark: Any, fitting: Fitting) -> None:
    folder = Path(fitting.lake.features.removeprefix("file:"))
    before = set(folder.glob("*.parquet"))
    commit(spark, fitting.lake, draw(5, seed=1))
    appended = set(folder.glob("*.parquet")) - before
    spark.sql(f"OPTIMIZE delta.`{fitting.lake.features}`")
    for file in appended:
        file.unlink()
    assert_full_scan(fitting, "the change feed since refit refit-0 is not available")


def test_feed_that_was_disabled_causes_full_scan(spark: Any, fitting: Fitting) -> None:
    table = f"ALTER TABLE delta.`{fitting.lake.features}` SET TBLPROPERTIES "
    spark.sql(table + "('delta.enableChangeDataFeed' = 'false')")
    commit(spark, fitting.lake, draw(5, seed=1))
    spark.sql(table + "('delta.enableChangeDataFeed' = 'true')")
    assert_full_scan(fitting, "the change feed since refit refit-0 is not available")


def test_rounding_error_above_bound_causes_full_scan(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(5, seed=1))

    def with_rounding(share: float) -> Callable[[Moments], Moments]:
        return lambda stored: replace(
            stored, rounding=share * stored.variance() * (stored.count - 1)
        )

    first = fitting.refits
    fitting.rewrite(with_rounding(0.9e-9))
    assert fitting.refit().kind == "incremental"
    fitting.refits = first
    fitting.rewrite(with_rounding(1.2e-9))
    assert_full_scan(fitting, "rounding errors have accumulated since refit refit-0")


def test_column_that_became_constant_causes_full_scan(spark: Any, fitting: Fitting) -> None:
    varying = draw(3, seed=1)
    varying.vectors[:, 1] = (1.0, 2.5, 4.0)  # 0 in all other rows
    commit(spark, fitting.lake, varying)
    found = fitting.refit()
    assert (found.kind, found.moments.constant()[1]) == ("incremental", False)
    delete(spark, fitting.lake, varying.paths)
    assert_full_scan(fitting, "rounding errors have accumulated since refit refit-1")


def test_inconsistent_row_counts_cause_full_scan(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(5, seed=1))
    rows = vectors_of(fitting.lake)[:150]
    fitting.rewrite(lambda stored: Moments.from_rows(rows, stored.shift))
    fitting.refits = (replace(fitting.refits[0], rows_fitted=150),)
    assert_full_scan(fitting, "the change feed since refit refit-0 is inconsistent")


def test_change_of_most_rows_causes_full_scan(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(210, seed=1))
    assert_full_scan(fitting, "most of them have changed since refit refit-0")


def test_changes_of_commits_that_were_not_read_are_estimated(spark: Any, fitting: Fitting) -> None:
    for seed in (1, 2, 3):
        commit(spark, fitting.lake, draw(70, seed=seed))
    found = fitting.refit(commits_read=1)
    assert "most of them have changed since refit refit-0" in found.description


@pytest.mark.parametrize(
    ("versions", "count"),
    [([], 64), ([2990], 64), ([2000, 2800, 3050], 200), ([2999, 1], 64), ([1], 1000)],
)
def test_commits_since_latest_refit_are_read(
    template: Fitting, versions: list[int], count: int
) -> None:
    refits = [replace(template.refits[0], features_version=version) for version in versions]
    assert commits_to_read(refits, 3000) == count
