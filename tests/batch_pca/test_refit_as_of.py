"""A refit of an old version gives what a refit gave then: statistics, components, signs, the order of the rows."""

from __future__ import annotations

import csv
import io
import os
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
from support.feature_lakes import commit, delete, delta, images, new_lake

pytestmark = pytest.mark.spark
FIT = FitOptions(components=4)
PROMISE = "'delta.logRetentionDuration' = '{0}', 'delta.deletedFileRetentionDuration' = '{0}'"
FIRST, LAST = 2, 6  # five versions with rows, behind an empty table and a property


@dataclass(frozen=True, eq=False)
class Then:
    """A refit made when its version was the latest, as it was found in its folder."""

    made: RefitRow
    components: np.ndarray
    moments: Moments
    lines: list[list[str]]


def read(made: RefitRow) -> Then:
    with np.load(io.BytesIO(made.folder.read("components.npz"))) as arrays:
        components = np.asarray(arrays["components"])
    lines = list(csv.reader(io.StringIO(made.folder.read("reduced.csv").decode(), newline="")))
    return Then(made, components, Moments.from_bytes(made.folder.read("moments.npz")), lines)


def turn(made: RefitRow) -> None:
    """Let a refit's components point the other way."""
    turned = io.BytesIO()
    np.savez(turned, components=-read(made).components)
    made.folder.write("components.npz", turned.getvalue())


def write(spark: Any, lake: Lake, number: int) -> None:
    """Make a version: rows that come, are replaced, and go."""
    if number == 4:
        commit(spark, lake, images(90, seed=2), known=True)
    elif number == 5:
        delete(spark, lake, images(60, seed=2).paths[::3])
    else:
        commit(spark, lake, images(60, seed=number, below=f"file:/{9 - number}"))


@dataclass
class Story:
    """Five versions and their refits, and what became of the table since."""

    lake: Lake
    then: dict[int, Then]


@pytest.fixture(scope="module")
def story(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Story:
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("as of"), "My lake"))
    then: dict[int, Then] = {}
    for number in range(FIRST, LAST + 1):
        write(spark, lake, number)
        assert delta(lake.features).version() == number
        made = refit(lake.root, RefitOptions(FIT)).row
        if number == FIRST:
            turn(made)  # signs that no convention gives: only the refits made then know them
            continue
        then[number] = read(made)
    commit(spark, lake, images(200, seed=77, below="file:/new"))
    today = refit(lake.root, RefitOptions(FIT)).row
    turn(today)
    # Those made then are gone, but for the first and today's.
    kept = {made.refit_id for made in read_refits(lake)} - {t.made.refit_id for t in then.values()}
    assert len(kept) == 2
    names = ", ".join(f"'{name}'" for name in kept)
    delta(lake.refits).delete(f"refit_id NOT IN ({names})")
    spark.sql(f"OPTIMIZE delta.`{lake.features}`")
    rows = spark.read.format("delta").load(lake.features).repartition(7, "label")
    rewrite = rows.write.format("delta").mode("overwrite").option("dataChange", "false")
    rewrite.save(lake.features)
    assert [row["operation"] for row in delta(lake.features).history()[:2]] == ["WRITE", "OPTIMIZE"]
    return Story(lake, then)


@pytest.mark.parametrize("number", [5, 3, 6, 4])  # in no order
@pytest.mark.parametrize("full", [True, False], ids=["all rows", "what has changed"])
def test_a_refit_of_an_old_version_gives_what_a_refit_then_gave(
    story: Story, number: int, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_evenly = parquet_reader.split_evenly
    cores = 5 if full else 1
    monkeypatch.setattr(
        parquet_reader, "split_evenly", lambda slices, _: split_evenly(slices, cores)
    )
    options = RefitOptions(FIT, as_of=str(number), full=full)
    result = refit(story.lake.root, options)
    now, then = read(result.row), story.then[number]
    if full:
        assert result.is_new
    assert now.made.features_timestamp == then.made.features_timestamp
    assert (now.made.rows, now.made.model_id) == (then.made.rows, then.made.model_id)
    np.testing.assert_allclose(now.moments.mean(), then.moments.mean(), rtol=1e-9, atol=1e-15)
    std = np.sqrt(then.moments.variance())
    covariance = then.moments.covariance()
    close = np.abs(now.moments.covariance() - covariance) <= 1e-9 * np.outer(std, std)
    assert close.all()
    ratios = [t.made.explained_variance_ratio for t in (now, then)]
    np.testing.assert_allclose(*ratios, rtol=1e-9)
    gaps = -np.diff(ratios[1])
    assert gaps.min() > 1e-3  # distinct
    np.testing.assert_allclose(now.components, then.components, atol=1e-6, rtol=0)
    assert [line[:2] for line in now.lines] == [line[:2] for line in then.lines]
    scores = [np.array([line[2:] for line in t.lines[1:]], dtype=float) for t in (now, then)]
    np.testing.assert_allclose(*scores, atol=1e-5, rtol=0)


def test_rows_in_other_files_give_the_same_csv(spark: Any, story: Story, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    old = spark.read.format("delta").option("versionAsOf", 5).load(story.lake.features)
    old.repartition(9, "content_hash").write.format("delta").mode("append").save(lake.features)
    assert len(delta(lake.features).file_uris()) > len(delta(story.lake.features, 5).file_uris())
    now, then = read(refit(lake.root, RefitOptions(FIT)).row), story.then[5]
    assert [line[:2] for line in now.lines] == [line[:2] for line in then.lines]
    paths = [line[0] for line in now.lines[1:]]
    assert paths == sorted(paths, key=str.encode)
    signs = np.sign(np.sum(now.components * then.components, axis=1))[:, np.newaxis]
    np.testing.assert_allclose(now.components * signs, then.components, atol=1e-6, rtol=0)
    ratios = [t.made.explained_variance_ratio for t in (now, then)]
    np.testing.assert_allclose(*ratios, rtol=1e-9)


@pytest.mark.skipif(
    pyspark.__version__ < "4.1",
    reason="Delta Lake 3.3 still reads such versions, and its DELETE fails, as that of 4.0: filePath is ambiguous",
)
def test_a_version_that_delta_will_not_read_any_more_is_told_with_the_remedy_or_read_without_it(
    spark: Any, tmp_path: Path
) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    table = f"delta.`{lake.features}`"
    first, second = images(20, seed=1), images(20, seed=2)
    for rows in (first, second):
        commit(spark, lake, rows)
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM {table} WHERE path = '{second.paths[0]}'")
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({PROMISE.format('interval 7 days')})")
    log = Path(tmp_path, "lake", "features", "_delta_log")
    for number in range(6):
        moment = time.time() - (40 - number) * 86_400
        os.utime(log / f"{number:020}.json", (moment, moment))
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert resolve_version(lake, "5").number == 5
    with pytest.raises(  # its deletion vector is for Spark to read
        SnapshotError, match=r"set its properties delta\.deletedFileRetention"
    ) as told:
        refit(lake.root, RefitOptions(FIT, as_of="5"))
    assert "\n" not in str(told.value)
    assert refit(lake.root, RefitOptions(FIT, as_of="2")).row.rows == 20
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({PROMISE.format('interval 3650 days')})")
    assert refit(lake.root, RefitOptions(FIT, as_of="5")).row.rows == 39
