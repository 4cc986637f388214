"""A refit against scikit-learn on the rows that delta-rs reads, and what it refuses."""

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
from support.feature_lakes import (
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
from support.query_lakes import QueryLake

pytestmark = pytest.mark.spark
TWO = RefitOptions(FitOptions(components=2))


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Version 2: 40 rows of 64 columns, version 3: 60 more below a folder whose name begins alike."""
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("refit"), "My lake"))
    commit(spark, lake, images(40, seed=1, below="file:/photos/train"))
    commit(spark, lake, images(60, seed=2, below="file:/photos/training"))
    return lake


@pytest.fixture(scope="module")
def wide(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """30 rows as wide as MobileNetV2's."""
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("wide"), "lake"), width=1280)
    commit(spark, lake, images(30, seed=3, width=1280))
    return lake


@dataclass(frozen=True)
class Case:
    """What is asked for, and the version and prefix of the rows that this means."""

    options: RefitOptions
    version: int
    below: str = ""
    wide: bool = False


CASES = {
    "two components": Case(TWO, 3),
    "a share, fewer rows than columns, as of a number": Case(
        RefitOptions(FitOptions(variance=0.95), as_of="2"), 2
    ),
    "as of a time": Case(RefitOptions(FitOptions(components=5), as_of="TIME OF 2"), 2),
    "below a prefix": Case(
        RefitOptions(FitOptions(components=3), fit_on="/photos/train/"), 3, "file:/photos/train/"
    ),
    "1280 columns": Case(RefitOptions(FitOptions(variance=0.95)), 2, wide=True),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A case, its refit, and scikit-learn's fit of the same rows."""

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
    rows = vectors_of(at, case.version, case.below)
    return Fitted(case, refit(at.root, options), rows, Oracle.of(rows))


def test_ratios_and_components_are_those_of_scikit_learn(fitted: Fitted) -> None:
    made, pca = fitted.result.row, fitted.oracle.pca
    assert (fitted.result.is_new, made.features_version) == (True, fitted.case.version)
    assert made.rows_fitted == len(fitted.rows)
    share = fitted.case.options.fit.variance
    if share:
        reached = np.cumsum(pca.explained_variance_ratio_) >= share
        assert made.components == np.argmax(reached) + 1
    else:
        assert made.components == fitted.case.options.fit.components
    expected = pca.explained_variance_ratio_[: made.components]
    np.testing.assert_allclose(made.explained_variance_ratio, expected, atol=1e-6, rtol=0)
    with np.load(io.BytesIO(made.folder.read("components.npz"))) as arrays:
        components = arrays["components"]
    assert_equal_up_to_sign(components, pca.components_[: made.components], axis=1, atol=1e-4)
    assert not components[:, list(CONSTANT)].any()


def test_all_rows_of_the_version_are_transformed(fitted: Fitted, lake: Lake, wide: Lake) -> None:
    at = wide if fitted.case.wide else lake
    everything = vectors_of(at, fitted.case.version)
    table = pyarrow.parquet.read_table(fitted.result.row.folder.parquet.removeprefix("file:"))
    reduced = np.array(table.sort_by("path")["reduced"].to_pylist())
    assert fitted.result.row.rows == len(everything) == len(reduced)
    expected = fitted.oracle.scores(everything, fitted.result.row.components)
    assert_equal_up_to_sign(reduced, expected, axis=0, atol=1e-4)


def test_the_stored_statistics_are_those_of_the_rows_fitted(fitted: Fitted) -> None:
    moments = Moments.from_bytes(fitted.result.row.folder.read("moments.npz"))
    assert moments.count == len(fitted.rows)
    np.testing.assert_allclose(moments.mean(), fitted.rows.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(moments.covariance(), np.cov(fitted.rows.T), atol=1e-9)
    assert np.flatnonzero(moments.constant()).tolist() == list(CONSTANT)


def test_its_row_tells_all_of_a_refit(fitted: Fitted, lake: Lake, wide: Lake) -> None:
    made = fitted.result.row
    row = refit_rows(wide if fitted.case.wide else lake)[made.refit_id]
    # Of two cases with the same version and rows, the second takes over the statistics of the first.
    source = row.pop("statistics_from")
    assert source == made.statistics_from
    assert row["statistics"] == ("incremental" if source else "full")
    drift = {name for name in row if name.startswith("drift_")}
    assert {
        name for name in row if row[name] is None
    } <= drift  # of the second version, since the first
    assert 0 < row["seconds"] < 600
    assert row == {name: getattr(made, name) for name in row} | {
        "explained_variance_ratio": list(made.explained_variance_ratio),
        "features_timestamp": row["features_timestamp"],
        "created_at": row["created_at"],
    }
    assert fitted.result.limited_by_rows is (
        len(fitted.rows) - 1 < fitted.rows.shape[1] - len(CONSTANT)
    )


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"as_of": "1"}, SnapshotError, "has 0 rows, but a fit needs at least 2"),
        ({"as_of": "4"}, SnapshotError, "no version 4 of the features"),
        ({"as_of": "soon"}, UsageError, "as of 'soon': no such tag"),
        ({"as_of": "3 dogs ago"}, UsageError, "give a version number, a time such as"),
        ({"fit_on": "/photos/trai"}, SnapshotError, "file:/photos/trai: no row has this prefix"),
        ({"components": 62}, SnapshotError, "too large, only 61 columns vary"),
        ({"components": 40, "as_of": "2"}, SnapshotError, "40 rows allow at most 39 components"),
        ({"variance": 0.0}, UsageError, "variance=0.0 is outside"),
        ({"variance": 1.5}, UsageError, "variance=1.5 is outside"),
    ],
)
def test_what_cannot_be_fitted_is_told_in_one_line_and_publishes_nothing(
    lake: Lake, options: dict[str, Any], error: type[PomonaError], said: str
) -> None:
    before = (refit_folders(lake), refit_rows(lake))
    fit = {"components": 2} if options.keys() <= {"as_of", "fit_on"} else {}
    fit |= {name: options.pop(name) for name in ("components", "variance") if name in options}
    with pytest.raises(error, match=said) as caught:
        refit(lake.root, RefitOptions(FitOptions(**fit), **options))
    assert "\n" not in str(caught.value)
    assert (refit_folders(lake), refit_rows(lake)) == before


def test_a_folder_that_is_no_lake_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="is not a lake"):
        refit(str(tmp_path), TWO)
    assert not list(tmp_path.iterdir())


def test_rows_of_two_models_and_a_single_row_are_refused(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path)
    commit(spark, lake, images(1, seed=1))
    commit(spark, lake, images(1, seed=2, model_id="another"))
    with pytest.raises(
        SnapshotError, match="several models, which cannot be fitted together: another, made-up"
    ):
        refit(lake.root, TWO)
    with pytest.raises(SnapshotError, match="has 1 rows"):
        refit(lake.root, RefitOptions(TWO.fit, as_of="2"))
    assert (refit_folders(lake), refit_rows(lake)) == (set(), {})


@pytest.mark.parametrize("table", ["features", "refits"])
def test_damage_is_one_line(query_lake: QueryLake, tmp_path: Path, table: str) -> None:
    copy = shutil.copytree(query_lake.folder, tmp_path / "lake")
    for file in (copy / table).rglob("*.parquet"):
        file.write_bytes(b"x" * 1000)
        file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
    with pytest.raises(ExternalError, match=r"(?i)parquet") as told:
        refit(str(copy), replace(TWO, full=True))
    assert "\n" not in str(told.value)
