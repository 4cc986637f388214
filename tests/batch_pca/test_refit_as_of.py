"""Tests that a refit of an old version reproduces the refit made when that version was the latest."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyspark
import pytest

from batch_pca.features import parquet_reader
from batch_pca.pca.fit import FitOptions
from batch_pca.pca.moments import Moments
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import RefitRow, read_refits
from streaming.errors import SnapshotError
from streaming.lake.layout import Lake
from streaming.lake.versions import resolve_version
from support.lakes.commit_times import set_commit_time
from support.lakes.feature_lakes import commit, delete, delta, images, new_lake

pytestmark = pytest.mark.spark
FIT = FitOptions(components=4)
RETENTION = "'delta.logRetentionDuration' = '{0}', 'delta.deletedFileRetentionDuration' = '{0}'"
FIRST, LAST = 2, 6  # five versions with rows, after an empty table and a property


@dataclass(frozen=True, eq=False)
class RefitFiles:
    """A refit, and the content of its folder."""

    row: RefitRow
    components: np.ndarray
    moments: Moments
    lines: list[list[str]]


def read_files(row: RefitRow) -> RefitFiles:
    with np.load(io.BytesIO(row.folder.read("components.npz"))) as arrays:
        components = np.asarray(arrays["components"])
    lines = list(csv.reader(io.StringIO(row.folder.read("reduced.csv").decode(), newline="")))
    return RefitFiles(row, components, Moments.from_bytes(row.folder.read("moments.npz")), lines)


def flip_signs(row: RefitRow) -> None:
    """Negate the stored components of a refit."""
    flipped = io.BytesIO()
    np.savez(flipped, components=-read_files(row).components)
    row.folder.write("components.npz", flipped.getvalue())


def create_version(spark: Any, lake: Lake, number: int) -> None:
    """Create a version with added, replaced or deleted rows."""
    if number == 4:
        commit(spark, lake, images(90, seed=2), known=True)
    elif number == 5:
        delete(spark, lake, images(60, seed=2).paths[::3])
    else:
        commit(spark, lake, images(60, seed=number, below=f"file:/{9 - number}"))


@dataclass
class History:
    """A lake with five versions, and the files of their refits at that time."""

    lake: Lake
    refits: dict[int, RefitFiles]


@pytest.fixture(scope="module")
def history(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> History:
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("as of"), "My lake"))
    refits: dict[int, RefitFiles] = {}
    for number in range(FIRST, LAST + 1):
        create_version(spark, lake, number)
        assert delta(lake.features).version() == number
        row = refit(lake.root, RefitOptions(FIT)).row
        if number == FIRST:
            flip_signs(row)  # later refits must follow these signs, not the default ones
            continue
        refits[number] = read_files(row)
    commit(spark, lake, images(200, seed=77, below="file:/new"))
    latest = refit(lake.root, RefitOptions(FIT)).row
    flip_signs(latest)
    # Delete all refits but the first and the latest.
    kept = {row.refit_id for row in read_refits(lake)}
    kept -= {files.row.refit_id for files in refits.values()}
    assert len(kept) == 2
    names = ", ".join(f"'{name}'" for name in kept)
    delta(lake.refits).delete(f"refit_id NOT IN ({names})")
    spark.sql(f"OPTIMIZE delta.`{lake.features}`")
    rows = spark.read.format("delta").load(lake.features).repartition(7, "label")
    rewrite = rows.write.format("delta").mode("overwrite").option("dataChange", "false")
    rewrite.save(lake.features)
    assert [row["operation"] for row in delta(lake.features).history()[:2]] == ["WRITE", "OPTIMIZE"]
    return History(lake, refits)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "full"),
    [(5, True), (3, False), (6, False), (4, True), (5, False)],  # in no order
)
def test_refit_of_old_version_reproduces_original_refit(
    history: History, number: int, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_evenly = parquet_reader.split_evenly
    cores = 5 if full else 1
    monkeypatch.setattr(
        parquet_reader, "split_evenly", lambda slices, _: split_evenly(slices, cores)
    )
    options = RefitOptions(FIT, as_of=str(number), full=full)
    result = refit(history.lake.root, options)
    actual, expected = read_files(result.row), history.refits[number]
    if full:
        assert result.is_new
    assert actual.row.features_timestamp == expected.row.features_timestamp
    assert (actual.row.rows, actual.row.model_id) == (expected.row.rows, expected.row.model_id)
    np.testing.assert_allclose(
        actual.moments.mean(), expected.moments.mean(), rtol=1e-9, atol=1e-15
    )
    std = np.sqrt(expected.moments.variance())
    covariance = expected.moments.covariance()
    close = np.abs(actual.moments.covariance() - covariance) <= 1e-9 * np.outer(std, std)
    assert close.all()
    ratios = [files.row.explained_variance_ratio for files in (actual, expected)]
    np.testing.assert_allclose(*ratios, rtol=1e-9)
    gaps = -np.diff(ratios[1])
    assert gaps.min() > 1e-3  # distinct
    np.testing.assert_allclose(actual.components, expected.components, atol=1e-6, rtol=0)
    assert [line[:2] for line in actual.lines] == [line[:2] for line in expected.lines]
    scores = [
        np.array([line[2:] for line in files.lines[1:]], dtype=float)
        for files in (actual, expected)
    ]
    np.testing.assert_allclose(*scores, atol=1e-5, rtol=0)


@pytest.mark.long
def test_rows_in_other_files_give_same_csv(spark: Any, history: History, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    old = spark.read.format("delta").option("versionAsOf", 5).load(history.lake.features)
    old.repartition(9, "content_hash").write.format("delta").mode("append").save(lake.features)
    assert len(delta(lake.features).file_uris()) > len(delta(history.lake.features, 5).file_uris())
    actual = read_files(refit(lake.root, RefitOptions(FIT)).row)
    expected = history.refits[5]
    assert [line[:2] for line in actual.lines] == [line[:2] for line in expected.lines]
    paths = [line[0] for line in actual.lines[1:]]
    assert paths == sorted(paths, key=str.encode)
    signs = np.sign(np.sum(actual.components * expected.components, axis=1))[:, np.newaxis]
    np.testing.assert_allclose(actual.components * signs, expected.components, atol=1e-6, rtol=0)
    ratios = [files.row.explained_variance_ratio for files in (actual, expected)]
    np.testing.assert_allclose(*ratios, rtol=1e-9)


@pytest.mark.long
@pytest.mark.skipif(
    pyspark.__version__ < "4.1",
    reason="Delta Lake 3.3 still reads such versions, and its DELETE fails, as that of 4.0: filePath is ambiguous",
)
def test_version_past_retention_raises_error_with_remedy(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    table = f"delta.`{lake.features}`"
    first, second = images(20, seed=1), images(20, seed=2)
    for rows in (first, second):
        commit(spark, lake, rows)
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM {table} WHERE path = '{second.paths[0]}'")
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({RETENTION.format('interval 7 days')})")
    for number in range(6):
        set_commit_time(lake.features, number, time.time() - (40 - number) * 86_400)
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert resolve_version(lake, "5").number == 5
    # Only Spark can read its deletion vector.
    with pytest.raises(
        SnapshotError, match=r"set the properties delta\.deletedFileRetention"
    ) as error:
        refit(lake.root, RefitOptions(FIT, as_of="5"))
    assert "\n" not in str(error.value)
    assert refit(lake.root, RefitOptions(FIT, as_of="2")).row.rows == 20
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({RETENTION.format('interval 3650 days')})")
    assert refit(lake.root, RefitOptions(FIT, as_of="5")).row.rows == 39
