"""Tests for `streaming.lake.layout`.

Tables that say what they hold, refuse what does not fit, and remember ten years.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pyspark.sql import SparkSession

from streaming.delta.tables import Table, create_table, read_table
from streaming.errors import LakeError
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, REFITS
from streaming.model.mobilenet_v2 import WIDTH
from streaming.storage.interface import StoredFile
from support.lakes import rows, version
from support.table_rows import FEATURES, add_features, append, features_row

NOW = datetime(2026, 3, 3, 8, tzinfo=UTC)
# As the design page has them, in Arrow's words.
COLUMNS = {
    "features": "path string, label string, length int64, modification_time timestamp, "
    "content_hash string, width int32, height int32, format string, features list, "
    "model_id string, ingested_at timestamp, batch_id int64",
    "quarantine": "path string, label string, length int64, modification_time timestamp, "
    "content_hash string, reason string, detail string, attempts int32, ingested_at timestamp, "
    "batch_id int64",
    "refits": "refit_id string, features_version int64, features_timestamp timestamp, "
    "model_id string, options string, rows int64, rows_fitted int64, components int32, "
    "explained_variance_ratio list, seconds double, created_at timestamp, pomona_version string, "
    "statistics string, statistics_from string, drift_from string, drift_angle double, "
    "drift_largest_angle double, drift_shift double, drift_labels string, drift_passed string",
}
# Of a refit, what tells of another one.
DRIFT = {
    f"drift_{what}" for what in ("from", "angle", "largest_angle", "shift", "labels", "passed")
}
NULLABLE = {
    "quarantine": {"content_hash"},
    "refits": {"statistics", "statistics_from"} | DRIFT,
}
TABLES = (FEATURES, QUARANTINE, REFITS)


@pytest.fixture(scope="module")
def lake(new_lake: Callable[[], Path]) -> Lake:
    return Lake.at(str(new_lake()))


def delta(location: str, number: int | None = None) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(location.removeprefix("file:"), version=number)


def image(name: str) -> StoredFile:
    return StoredFile(f"file:/images/Fig/{name}.jpg", 5, 1_700_000_000_123)


def test_a_lake_is_a_folder_that_is_new_empty_or_pomonas_own(tmp_path: Path) -> None:
    Lake.at(str(tmp_path / "new")).ensure_writable_location()
    Lake.at(str(tmp_path)).ensure_writable_location()
    (tmp_path / "models").mkdir()
    (tmp_path / "notes.txt").touch()
    Lake.at(str(tmp_path)).ensure_writable_location()
    for location, wrong in (
        (tmp_path / "notes.txt", "is a file"),
        (tmp_path.parent, "other files"),
    ):
        with pytest.raises(LakeError, match=rf"{wrong}.*: name a ") as refused:
            Lake.at(str(location)).ensure_writable_location()
        assert "\n" not in str(refused.value)


def test_a_folder_without_features_is_no_lake(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path))
    assert not lake.exists()
    with pytest.raises(LakeError, match=f"{tmp_path} is not a lake"):
        lake.validate()


@pytest.mark.spark
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_tables_have_the_columns_of_the_design_each_with_a_comment(
    lake: Lake, table: Table
) -> None:
    assert lake.exists()
    stored = delta(f"{lake.root}/{table.name}")
    fields = stored.to_pyarrow_table().schema
    found = ", ".join(f"{f.name} {str(f.type).split('[')[0].split('<')[0]}" for f in fields)
    assert found == COLUMNS[table.name]
    assert all(len(field.metadata["comment"]) > 10 for field in stored.schema().fields)
    assert {f.name for f in fields if f.nullable} == NULLABLE.get(table.name, set())
    assert stored.metadata().description == table.comment


@pytest.mark.spark
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_history_is_kept_for_ten_years(lake: Lake, table: Table) -> None:
    kept = delta(f"{lake.root}/{table.name}").metadata().configuration
    for name in ("logRetentionDuration", "deletedFileRetentionDuration"):
        assert kept[f"delta.{name}"] == "interval 3650 days"


@pytest.mark.spark
def test_creating_a_table_again_changes_nothing(spark: SparkSession, lake: Lake) -> None:
    before = version(lake.features)
    create_table(spark, lake.features, FEATURES)
    assert version(lake.features) == before


@pytest.mark.spark
def test_what_a_killed_creation_left_is_no_table_and_in_nobodys_way(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake.at(str(tmp_path))
    log = tmp_path / "quarantine" / "_delta_log"
    log.mkdir(parents=True)
    (log / ".00000000000000000000.json.b0a8.tmp").write_text("half of a comm")
    create_table(spark, lake.quarantine, QUARANTINE)
    assert version(lake.quarantine) == 0
    assert rows(lake.quarantine) == []


@pytest.mark.spark
def test_a_table_is_created_whole_in_one_commit(lake: Lake) -> None:
    first = deltalake.DeltaTable(lake.features.removeprefix("file:"), version=0)
    assert "delta.constraints.features_width" in first.metadata().configuration


@pytest.mark.spark
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"path": None}, "path"),
        ({"features": None}, "features"),
        ({"content_hash": None}, "content_hash"),
        ({"features": [0.0] * (WIDTH - 1)}, "features_width"),
        ({"features": []}, "features_width"),
    ],
)
def test_rows_that_break_the_contract_are_refused(
    spark: SparkSession, lake: Lake, wrong: dict[str, Any], named: str
) -> None:
    before = version(lake.features)
    row = features_row(image("wrong"), NOW) | wrong
    with pytest.raises(Exception, match=rf"(?s)DELTA_(VIOLATE|NOT_NULL).*{named}"):
        append(spark, lake.features, FEATURES.ddl, [row])
    assert version(lake.features) == before


@pytest.fixture(scope="module")
def changed(spark: SparkSession, new_lake: Callable[[], Path]) -> tuple[Lake, int]:
    """A lake in which one of two images was deleted again, and its version before that."""
    lake = Lake.at(str(new_lake()))
    add_features(spark, lake, [image("a"), image("b")], NOW)
    before = version(lake.features)
    spark.sql(f"DELETE FROM delta.`{lake.features}` WHERE path = '{image('a').path}'")
    return lake, before


@pytest.mark.spark
def test_delta_rs_reads_what_spark_reads(spark: SparkSession, changed: tuple[Lake, int]) -> None:
    lake, before = changed
    for number in (before, None):
        spark_rows = read_table(spark, lake.features, number).orderBy("path").collect()
        found = delta(lake.features, number).to_pyarrow_table().sort_by("path").to_pylist()
        assert len(found) == (2 if number else 1)
        for ours, theirs in zip(spark_rows, found, strict=True):
            times = {"modification_time", "ingested_at"}
            assert {k: v for k, v in ours.asDict().items() if k not in times} == {
                k: v for k, v in theirs.items() if k not in times
            }
            assert theirs["modification_time"].timestamp() == 1_700_000_000.123
            assert theirs["ingested_at"] == NOW


@pytest.mark.spark
def test_the_change_feed_of_features_tells_each_change(
    spark: SparkSession, changed: tuple[Lake, int]
) -> None:
    lake, before = changed
    feed = (spark.read.option("readChangeFeed", "true").option("startingVersion", before)).format(
        "delta"
    )
    found = feed.load(lake.features).select("_change_type", "path").collect()
    assert sorted(map(tuple, found)) == [
        ("delete", image("a").path),
        ("insert", image("a").path),
        ("insert", image("b").path),
    ]


@pytest.mark.spark
def test_a_log_of_forty_days_ago_can_still_be_travelled(
    spark: SparkSession, changed: tuple[Lake, int], tmp_path: Path
) -> None:
    lake, before = changed
    folder = Path(shutil.copytree(lake.features.removeprefix("file:"), tmp_path / "features"))
    then = time.time() - 40 * 86400
    for number, file in enumerate(sorted(folder.rglob("*"))):
        os.utime(file, (then + number, then + number))
    old = f"file:{folder}"
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog  # type: ignore[union-attr]
    # Cleans the log too, as Delta does by itself every ten commits.
    log.forTable(spark._jsparkSession, old).checkpoint()
    add_features(spark, Lake(f"file:{tmp_path}"), [image("c")], NOW)
    assert [row["path"] for row in rows(old)] == [image(name).path for name in "bc"]
    assert read_table(spark, old, before).count() == 2
    for number, count in ((0, 0), (before, 2)):
        committed = (folder / "_delta_log" / f"{number:020}.json").stat().st_mtime
        moment = datetime.fromtimestamp(committed + 0.1, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        assert spark.read.option("timestampAsOf", moment).format("delta").load(old).count() == count
