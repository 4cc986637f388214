"""Tests for `batch_pca.refit`, against scikit-learn on rows read by delta-rs; and rejected options and lakes."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.pca.moments import Moments
from batch_pca.refit import RefitOptions, RefitResult, refit
from streaming.errors import ExternalError, LakeError, PomonaError, SnapshotError, UsageError
from streaming.lake.layout import Lake
from support.lakes.feature_lakes import (
    CONSTANT,
    Oracle,
    assert_equal_up_to_sign,
    commit,
    images,
    new_lake,
    refit_folders,
    refit_rows,
    vectors_of,
)
from support.lakes.query_lakes import QueryLake

pytestmark = pytest.mark.spark
TWO = RefitOptions(FitOptions(components=2))


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Return a lake with 40 rows of 64 columns (version 2) and 60 more in a folder whose name has the same prefix."""
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("refit"), "My lake"))
    commit(spark, lake, images(40, seed=1, below="file:/photos/train"))
    commit(spark, lake, images(60, seed=2, below="file:/photos/training"))
    return lake


@pytest.fixture(scope="module")
def wide(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Return a lake with 30 rows of the width of MobileNetV2 features."""
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("wide"), "lake"), width=1280)
    commit(spark, lake, images(30, seed=3, width=1280))
    return lake


@dataclass(frozen=True)
class Case:
    """Options, and the features version and prefix of the rows that must be fitted."""

    options: RefitOptions
    version: int
    prefix: str = ""
    wide: bool = False


CASES = {
    "two components": Case(TWO, 3),
    "variance, fewer rows than columns, as of a number": Case(
        RefitOptions(FitOptions(variance=0.95), as_of="2"), 2
    ),
    "as of a time": Case(RefitOptions(FitOptions(components=5), as_of="TIME OF 2"), 2),
    "below a prefix": Case(
        RefitOptions(FitOptions(components=3), fit_on="/photos/train/"), 3, "file:/photos/train/"
    ),
    "below the root, as of a version number": Case(
        RefitOptions(FitOptions(components=3), fit_on="/", as_of=2), 2, "file:"
    ),
    "1280 columns": Case(RefitOptions(FitOptions(variance=0.95)), 2, wide=True),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A case, its refit, and the fit of the same rows by scikit-learn."""

    case: Case
    result: RefitResult
    rows: np.ndarray
    oracle: Oracle


@pytest.fixture(scope="module", params=CASES)
def fitted(request: pytest.FixtureRequest, lake: Lake, wide: Lake) -> Fitted:
    case = CASES[request.param]
    at = wide if case.wide else lake
    options = case.options
    if options.as_of == "TIME OF 2":
        log = Path(at.features.removeprefix("file:"), "_delta_log", f"{2:020}.json")
        written = datetime.fromtimestamp(log.stat().st_mtime_ns // 10**6 / 1000, UTC)
        options = RefitOptions(options.fit, as_of=written.isoformat(timespec="milliseconds"))
    rows = vectors_of(at, case.version, case.prefix)
    return Fitted(case, refit(at.root, options), rows, Oracle.fit(rows))


def test_ratios_and_components_match_scikit_learn(fitted: Fitted) -> None:
    row, pca = fitted.result.row, fitted.oracle.pca
    assert (fitted.result.is_new, row.features_version) == (True, fitted.case.version)
    assert row.rows_fitted == len(fitted.rows)
    variance = fitted.case.options.fit.variance
    if variance:
        reached = np.cumsum(pca.explained_variance_ratio_) >= variance
        assert row.components == np.argmax(reached) + 1
    else:
        assert row.components == fitted.case.options.fit.components
    expected = pca.explained_variance_ratio_[: row.components]
    np.testing.assert_allclose(row.explained_variance_ratio, expected, atol=1e-6, rtol=0)
    with np.load(io.BytesIO(row.folder.read("components.npz"))) as arrays:
        components = arrays["components"]
    assert_equal_up_to_sign(components, pca.components_[: row.components], axis=1, atol=1e-4)
    assert not components[:, list(CONSTANT)].any()


def test_all_rows_of_the_version_are_transformed(fitted: Fitted, lake: Lake, wide: Lake) -> None:
    at = wide if fitted.case.wide else lake
    all_rows = vectors_of(at, fitted.case.version)
    table = pyarrow.parquet.read_table(fitted.result.row.folder.parquet.removeprefix("file:"))
    reduced = np.array(table.sort_by("path")["reduced"].to_pylist())
    assert fitted.result.row.rows == len(all_rows) == len(reduced)
    expected = fitted.oracle.scores(all_rows, fitted.result.row.components)
    assert_equal_up_to_sign(reduced, expected, axis=0, atol=1e-4)


def test_stored_statistics_match_the_fitted_rows(fitted: Fitted) -> None:
    moments = Moments.from_bytes(fitted.result.row.folder.read("moments.npz"))
    assert moments.count == len(fitted.rows)
    np.testing.assert_allclose(moments.mean(), fitted.rows.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(moments.covariance(), np.cov(fitted.rows.T), atol=1e-9)
    assert np.flatnonzero(moments.constant()).tolist() == list(CONSTANT)


def test_row_of_the_table_matches_the_result(fitted: Fitted, lake: Lake, wide: Lake) -> None:
    expected = fitted.result.row
    row = refit_rows(wide if fitted.case.wide else lake)[expected.refit_id]
    # The second of two cases with the same version and rows reuses the statistics of the first.
    source = row.pop("statistics_from")
    assert source == expected.statistics_from
    assert row["statistics"] == ("incremental" if source else "full")
    drift = {name for name in row if name.startswith("drift_")}
    # Drift is null without a refit of an earlier version.
    assert {name for name in row if row[name] is None} <= drift
    assert 0 < row["seconds"] < 600
    assert row == {name: getattr(expected, name) for name in row} | {
        "explained_variance_ratio": list(expected.explained_variance_ratio),
        "features_timestamp": row["features_timestamp"],
        "created_at": row["created_at"],
    }
    few_rows = len(fitted.rows) - 1 < fitted.rows.shape[1] - len(CONSTANT)
    requested = fitted.case.options.fit.components is not None
    assert fitted.result.limited_by_rows is (few_rows and not requested)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"as_of": "1"}, SnapshotError, "has 0 rows, but a fit needs at least 2"),
        ({"as_of": "4"}, SnapshotError, "no version 4 of the features"),
        ({"as_of": "soon"}, UsageError, "as of 'soon': no such tag"),
        ({"as_of": "3 dogs ago"}, UsageError, "give a version number, a time such as"),
        ({"fit_on": "/photos/trai"}, SnapshotError, "file:/photos/trai: no row has this prefix"),
        ({"fit_on": ""}, UsageError, "empty"),
        (
            {"components": 62},
            SnapshotError,
            "62 components are too many, the number of columns that vary is 61",
        ),
        ({"components": 40, "as_of": "2"}, SnapshotError, "40 rows allow at most 39 components"),
    ],
)
def test_failed_refit_raises_one_line_and_publishes_nothing(
    lake: Lake, options: dict[str, Any], error: type[PomonaError], message: str
) -> None:
    before = (refit_folders(lake), refit_rows(lake))
    fit = FitOptions(options.pop("components", 2))
    with pytest.raises(error, match=message) as caught:
        refit(lake.root, RefitOptions(fit, **options))
    assert "\n" not in str(caught.value)
    assert (refit_folders(lake), refit_rows(lake)) == before


def test_folder_that_is_not_a_lake_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="is not a lake"):
        refit(str(tmp_path), TWO)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("table", ["features", "refits"])
def test_damaged_files_raise_one_line(query_lake: QueryLake, tmp_path: Path, table: str) -> None:
    copy = shutil.copytree(query_lake.folder, tmp_path / "lake")
    for file in (copy / table).rglob("*.parquet"):
        file.write_bytes(b"x" * 1000)
        file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
    with pytest.raises(ExternalError, match=r"(?i)parquet") as caught:
        refit(str(copy), replace(TWO, full=True))
    assert "\n" not in str(caught.value)
