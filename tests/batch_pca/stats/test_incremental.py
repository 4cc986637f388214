"""Statistics of what has changed since a refit, against NumPy and scikit-learn on the rows that delta-rs reads."""

from __future__ import annotations

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
from batch_pca.stats.incremental import Statistics, compute_statistics
from streaming.delta.log import read_commits
from streaming.lake.layout import Lake
from support.feature_lakes import (
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
    """A lake, and the refits made of it: their statistics alone, stored as a refit stores them."""

    spark: Any
    lake: Lake
    fit_on: str | None = None
    refits: tuple[RefitRow, ...] = ()

    def again(self, *, full: bool = False) -> Statistics:
        commits = read_commits(self.lake.features, 64)
        snapshot = take_snapshot(self.spark, self.lake, commits[-1], self.fit_on)
        found = compute_statistics(snapshot, list(self.refits), commits, full=full)
        made = RefitRow(
            refit_id=f"refit-{len(self.refits)}",
            lake=self.lake,
            features_version=commits[-1].number,
            features_timestamp=datetime.now(UTC),
            model_id=snapshot.model_id,
            options=RefitOptions(fit_on=self.fit_on).as_json(),
            rows=snapshot.count,
            rows_fitted=found.moments.count,
            explained_variance_ratio=(1.0,),
            created_at=datetime.now(UTC),
            pomona_version="0.1",
        )
        made.folder.write("moments.npz", found.moments.to_bytes())
        self.refits += (made,)
        return found

    def rewrite(self, change: Callable[[Moments], Moments]) -> None:
        """Change what the last refit has stored."""
        folder = self.refits[-1].folder
        stored = Moments.from_bytes(folder.read("moments.npz"))
        folder.write("moments.npz", change(stored).to_bytes())


def check(found: Statistics, rows: np.ndarray) -> None:
    """Fail unless the statistics are those of these rows, within 1e-8."""
    moments = found.moments
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean(), rows.mean(axis=0), rtol=1e-8)
    expected = np.cov(rows.T)
    np.testing.assert_allclose(
        moments.covariance(), expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max()
    )
    varies = np.ptp(rows, axis=0) > 0
    assert moments.constant().tolist() == (~varies).tolist()
    ours, oracle = fit(moments, FitOptions(variance=1.0)), Oracle.of(rows)
    values = np.linalg.eigvalsh(np.corrcoef(rows[:, varies].T))[::-1]
    np.testing.assert_allclose(ours.explained_variance, values, rtol=1e-8)
    np.testing.assert_allclose(
        ours.explained_variance_ratio,
        oracle.pca.explained_variance_ratio_[: len(values)],
        rtol=1e-8,
    )


@pytest.fixture
def fitting(spark: Any, tmp_path: Path) -> Fitting:
    """A lake of 200 rows, and a refit of it."""
    lake = new_lake(spark, tmp_path / "My lake", WIDTH)
    commit(spark, lake, draw(200, seed=0))
    begun = Fitting(spark, lake)
    assert begun.again().kind == "full"
    return begun


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_rounds_of_appends_replacements_and_deletions_leave_the_statistics_of_a_full_pass(
    spark: Any, fitting: Fitting
) -> None:
    random = np.random.default_rng(5)
    kinds = random.permutation(["append"] * 7 + ["replace"] * 7 + ["delete"] * 6)
    paths = {path: 0 for path in draw(200, seed=0).paths}
    for number, kind in enumerate(kinds, start=1):
        some = [str(path) for path in random.choice(sorted(paths), 11, replace=False)]
        if kind == "append":
            rows = draw(13, seed=number)
            commit(spark, fitting.lake, rows)
            paths |= dict.fromkeys(rows.paths, number)
        elif kind == "replace":
            rows = draw(11, seed=1000 + number)
            commit(spark, fitting.lake, replace(rows, paths=some), known=True)
        else:
            delete(spark, fitting.lake, some)
            paths = {path: seed for path, seed in paths.items() if path not in some}
        found = fitting.again()
        assert (found.kind, found.refit_id) == ("incremental", f"refit-{number - 1}"), (
            found.description
        )
        check(found, vectors_of(fitting.lake))
    last = fitting.again(full=True)
    assert (last.kind, last.refit_id) == ("full", None)
    check(last, vectors_of(fitting.lake))
    assert set(CONSTANT) <= set(np.flatnonzero(found.moments.constant()))


def test_a_feed_of_many_rows_is_summed_by_the_workers_as_well(
    spark: Any, fitting: Fitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(spark, fitting.lake, draw(10, seed=1))
    commit(spark, fitting.lake, replace(draw(4, seed=2), paths=draw(4, seed=0).paths), known=True)
    delete(spark, fitting.lake, draw(3, seed=1).paths)
    monkeypatch.setattr(incremental, "_FEW", 20)
    monkeypatch.setattr(incremental, "sum_few_changes", None)
    found = fitting.again()
    assert found.description == "14 rows added, 7 removed since refit refit-0"
    check(found, vectors_of(fitting.lake))


def test_several_commits_at_once_and_none(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(10, seed=1))
    commit(spark, fitting.lake, replace(draw(4, seed=2), paths=draw(4, seed=0).paths), known=True)
    spark.sql(f"OPTIMIZE delta.`{fitting.lake.features}`")
    delete(spark, fitting.lake, draw(3, seed=1).paths)
    found = fitting.again()
    assert found.description == "14 rows added, 7 removed since refit refit-0"
    check(found, vectors_of(fitting.lake))
    again = fitting.again()
    assert again.description == "0 rows added, 0 removed since refit refit-1"
    assert again.moments.to_bytes() == found.moments.to_bytes()


def test_only_changes_below_the_prefix_count(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(80, seed=1, below="file:/photos/new"))
    below = Fitting(spark, fitting.lake, "/photos/new", fitting.refits)
    first = below.again()
    assert first.description == "all 80 rows read (no earlier refit of these rows)"
    commit(spark, fitting.lake, draw(6, seed=2, below="file:/photos/new"))
    commit(spark, fitting.lake, draw(9, seed=3, below="file:/photos/newer"))
    found = below.again()
    assert found.description == "6 rows added, 0 removed since refit refit-1"
    check(found, vectors_of(fitting.lake, below="file:/photos/new/"))


def test_the_nearest_earlier_refit_whose_statistics_are_whole_is_taken(
    spark: Any, fitting: Fitting
) -> None:
    for number in (1, 2):
        commit(spark, fitting.lake, draw(5, seed=number))
        fitting.again()
    assert fitting.again().refit_id == "refit-2"
    fitting.refits = fitting.refits[:3]
    fitting.refits[2].folder.write("moments.npz", b"damaged")
    assert fitting.again().refit_id == "refit-1"
    fitting.refits = (fitting.refits[0], replace(fitting.refits[1], model_id="another"))
    assert fitting.again().refit_id == "refit-0"
    later = replace(fitting.refits[0], features_version=10**6)
    fitting.refits = (later,)
    assert "no earlier refit" in fitting.again().description


def full_because(fitting: Fitting, reason: str) -> None:
    """Fail unless the next fit reads all rows, says why, and is right."""
    found = fitting.again()
    assert (found.kind, found.refit_id) == ("full", None)
    assert reason in found.description
    check(found, vectors_of(fitting.lake))


def test_a_removed_folder_and_damaged_statistics_are_no_help(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(5, seed=1))
    whole = fitting.refits[0].folder.read("moments.npz")
    first = fitting.refits
    for damaged in (b"", whole[:-100], whole[:5000] + b"\x01" + whole[5001:]):
        first[0].folder.write("moments.npz", damaged)
        fitting.refits = first
        full_because(fitting, "of refit refit-0 are gone or damaged")
    Path(first[0].folder.uri.removeprefix("file:"), "moments.npz").unlink()
    fitting.refits = first
    full_because(fitting, "of refit refit-0 are gone or damaged")


def test_a_feed_whose_files_are_vacuumed_away_is_no_help(spark: Any, fitting: Fitting) -> None:
    folder = Path(fitting.lake.features.removeprefix("file:"))
    before = set(folder.glob("*.parquet"))
    commit(spark, fitting.lake, draw(5, seed=1))
    appended = set(folder.glob("*.parquet")) - before
    spark.sql(f"OPTIMIZE delta.`{fitting.lake.features}`")
    for file in appended:
        file.unlink()
    full_because(fitting, "the change feed since refit refit-0 is not available")


def test_a_feed_that_was_off_for_a_while_is_no_help(spark: Any, fitting: Fitting) -> None:
    table = f"ALTER TABLE delta.`{fitting.lake.features}` SET TBLPROPERTIES "
    spark.sql(table + "('delta.enableChangeDataFeed' = 'false')")
    commit(spark, fitting.lake, draw(5, seed=1))
    spark.sql(table + "('delta.enableChangeDataFeed' = 'true')")
    full_because(fitting, "the change feed since refit refit-0 is not available")


def test_rounding_that_passes_the_bound_ends_in_a_full_pass(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(5, seed=1))

    def worn(share: float) -> Callable[[Moments], Moments]:
        return lambda stored: replace(
            stored, rounding=share * stored.variance() * (stored.count - 1)
        )

    first = fitting.refits
    fitting.rewrite(worn(0.9e-9))
    assert fitting.again().kind == "incremental"
    fitting.refits = first
    fitting.rewrite(worn(1.2e-9))
    full_because(fitting, "rounding has added up since refit refit-0")


def test_a_column_that_only_removed_rows_varied_in_is_constant(
    spark: Any, fitting: Fitting
) -> None:
    odd = draw(3, seed=1)
    odd.vectors[:, 1] = (1.0, 2.5, 4.0)  # 0 in all other rows
    commit(spark, fitting.lake, odd)
    varies = fitting.again()
    assert (varies.kind, varies.moments.constant()[1]) == ("incremental", False)
    delete(spark, fitting.lake, odd.paths)
    full_because(fitting, "rounding has added up since refit refit-1")


def test_statistics_that_do_not_add_up_are_no_help(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(5, seed=1))
    rows = vectors_of(fitting.lake)[:150]
    fitting.rewrite(lambda stored: Moments.of(rows, stored.shift))
    fitting.refits = (replace(fitting.refits[0], rows_fitted=150),)
    full_because(fitting, "the change feed since refit refit-0 does not add up")


def test_where_most_rows_have_changed_all_are_read(spark: Any, fitting: Fitting) -> None:
    commit(spark, fitting.lake, draw(210, seed=1))
    full_because(fitting, "most of them have changed since refit refit-0")
