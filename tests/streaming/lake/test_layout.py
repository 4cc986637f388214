"""Tests for `streaming.lake.layout` and the tables that it creates."""

from __future__ import annotations

import os
import re
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
from support.lakes.commit_times import set_commit_time
from support.lakes.small_lakes import rows, version
from support.lakes.table_rows import FEATURES, add_features, append, features_row

NOW = datetime(2026, 3, 3, 8, tzinfo=UTC)
# As documented in the reference, with Arrow's type names.
COLUMNS = {
    "features": "path string, label string, length int64, modification_time timestamp, "
    "content_hash string, width int32, height int32, format string, features list, "
    "model_id string, ingested_at timestamp, batch_id int64",
    "quarantine": "path string, label string, length int64, modification_time timestamp, "
    "content_hash string, reason string, detail string, attempts int32, ingested_at timestamp, "
    "batch_id int64",
    "refits": "refit_id string, features_version int64, features_timestamp timestamp, "
    "model_id string, parameters string, rows int64, rows_fitted int64, components int32, "
    "explained_variance_ratio list, seconds double, created_at timestamp, pomona_version string, "
    "statistics string, statistics_from string, drift_from string, drift_angle double, "
    "drift_shift double, drift_labels string, drift_exceeded string, scheduled bool, "
    "drift_new_labels string, drift_vanished_labels string, drift_limits string",
}
# Null for the first refit.
DRIFT = {
    f"drift_{name}"
    for name in (
        *("from", "angle", "shift", "labels", "exceeded"),
        *("new_labels", "vanished_labels", "limits"),
    )
}
NULLABLE = {
    "quarantine": {"content_hash"},
    "refits": {"statistics", "statistics_from", "scheduled"} | DRIFT,
}
TABLES = (FEATURES, QUARANTINE, REFITS)


@pytest.fixture(scope="module")
def lake(new_lake: Callable[[], Path]) -> Lake:
    return Lake.at(str(new_lake()))


def delta(location: str, number: int | None = None) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(location.removeprefix("file:"), version=number)


def image(name: str) -> StoredFile:
    return StoredFile(f"file:/images/Fig/{name}.jpg", 5, 1_700_000_000_123)


def test_writable_location_is_new_empty_or_a_lake(tmp_path: Path) -> None:
    Lake.at(str(tmp_path / "new")).ensure_writable_location()
    Lake.at(str(tmp_path)).ensure_writable_location()
    (tmp_path / "models").mkdir()
    (tmp_path / "notes.txt").touch()
    Lake.at(str(tmp_path)).ensure_writable_location()
    for location, problem in (
        (tmp_path / "notes.txt", "is a file"),
        (tmp_path.parent, "other files"),
    ):
        with pytest.raises(LakeError, match=rf"{problem}.*: choose a ") as error:
            Lake.at(str(location)).ensure_writable_location()
        assert "\n" not in str(error.value)


def test_folder_without_features_is_not_a_lake(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path))
    assert not lake.exists()
    with pytest.raises(LakeError, match=f"{tmp_path} is not a lake"):
        lake.validate()


@pytest.mark.spark
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_tables_have_documented_columns_with_comments(lake: Lake, table: Table) -> None:
    assert lake.exists()
    stored = delta(f"{lake.root}/{table.name}")
    fields = stored.to_pyarrow_table().schema
    columns = ", ".join(f"{f.name} {str(f.type).split('[')[0].split('<')[0]}" for f in fields)
    assert columns == COLUMNS[table.name]
    assert all(len(field.metadata["comment"]) > 10 for field in stored.schema().fields)
    assert {f.name for f in fields if f.nullable} == NULLABLE.get(table.name, set())
    assert stored.metadata().description == table.comment


@pytest.mark.spark
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_tables_keep_versions_for_ten_years_and_few_checkpoints(lake: Lake, table: Table) -> None:
    properties = delta(f"{lake.root}/{table.name}").metadata().configuration
    for name in ("logRetentionDuration", "deletedFileRetentionDuration"):
        assert properties[f"delta.{name}"] == "interval 3650 days"
    assert properties["delta.checkpointInterval"] == "100"


@pytest.mark.spark
def test_create_table_twice_makes_one_commit(spark: SparkSession, lake: Lake) -> None:
    before = version(lake.features)
    create_table(spark, lake.features, FEATURES)
    assert version(lake.features) == before


@pytest.mark.spark
def test_table_is_created_after_interrupted_creation(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path))
    log = tmp_path / "quarantine" / "_delta_log"
    log.mkdir(parents=True)
    (log / ".00000000000000000000.json.b0a8.tmp").write_text("incomplete")
    create_table(spark, lake.quarantine, QUARANTINE)
    assert version(lake.quarantine) == 0
    assert rows(lake.quarantine) == []


@pytest.mark.spark
def test_table_is_created_with_constraints_in_one_commit(lake: Lake) -> None:
    first = deltalake.DeltaTable(lake.features.removeprefix("file:"), version=0)
    assert "delta.constraints.features_width" in first.metadata().configuration


@pytest.mark.spark
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"path": None}, "path"),
        ({"features": None}, "features"),
        ({"content_hash": None}, "content_hash"),
        ({"features": [0.0] * (WIDTH - 1)}, "features_width"),
        ({"features": []}, "features_width"),
    ],
)
def test_rows_that_violate_constraints_are_rejected(
    spark: SparkSession, lake: Lake, changed: dict[str, Any], named: str
) -> None:
    before = version(lake.features)
    row = features_row(image("invalid"), NOW) | changed
    with pytest.raises(Exception, match=rf"(?s)DELTA_(VIOLATE|NOT_NULL).*{named}"):
        append(spark, lake.features, FEATURES.ddl, [row])
    assert version(lake.features) == before


@pytest.fixture(scope="module")
def lake_with_delete(spark: SparkSession, new_lake: Callable[[], Path]) -> tuple[Lake, int]:
    """A lake of which one of two images was deleted, and the version before that."""
    lake = Lake.at(str(new_lake()))
    add_features(spark, lake, [image("a"), image("b")], NOW)
    before = version(lake.features)
    spark.sql(f"DELETE FROM delta.`{lake.features}` WHERE path = '{image('a').path}'")
    return lake, before


@pytest.mark.spark
def test_delta_rs_reads_same_rows_as_spark(
    spark: SparkSession, lake_with_delete: tuple[Lake, int]
) -> None:
    lake, before = lake_with_delete
    for number in (before, None):
        spark_rows = read_table(spark, lake.features, number).orderBy("path").collect()
        delta_rows = delta(lake.features, number).to_pyarrow_table().sort_by("path").to_pylist()
        assert len(delta_rows) == (2 if number else 1)
        for spark_row, delta_row in zip(spark_rows, delta_rows, strict=True):
            times = {"modification_time", "ingested_at"}
            assert {k: v for k, v in spark_row.asDict().items() if k not in times} == {
                k: v for k, v in delta_row.items() if k not in times
            }
            assert delta_row["modification_time"].timestamp() == 1_700_000_000.123
            assert delta_row["ingested_at"] == NOW


@pytest.mark.spark
def test_change_feed_of_features_contains_each_change(
    spark: SparkSession, lake_with_delete: tuple[Lake, int]
) -> None:
    lake, before = lake_with_delete
    feed = (spark.read.option("readChangeFeed", "true").option("startingVersion", before)).format(
        "delta"
    )
    changes = feed.load(lake.features).select("_change_type", "path").collect()
    assert sorted(map(tuple, changes)) == [
        ("delete", image("a").path),
        ("insert", image("a").path),
        ("insert", image("b").path),
    ]


@pytest.mark.spark
def test_time_travel_works_after_forty_days(
    spark: SparkSession, lake_with_delete: tuple[Lake, int], tmp_path: Path
) -> None:
    lake, before = lake_with_delete
    folder = Path(shutil.copytree(lake.features.removeprefix("file:"), tmp_path / "features"))
    then = time.time() - 40 * 86400
    for number, file in enumerate(sorted(folder.rglob("*"))):
        os.utime(file, (then + number, then + number))
    for number, file in enumerate(sorted(folder.glob("_delta_log/*.json"))):
        set_commit_time(folder, int(file.stem), then + number)
    old = f"file:{folder}"
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog  # type: ignore[union-attr]
    # A checkpoint also cleans up the log. Delta makes one every ten commits.
    log.forTable(spark._jsparkSession, old).checkpoint()
    add_features(spark, Lake(f"file:{tmp_path}"), [image("c")], NOW)
    assert [row["path"] for row in rows(old)] == [image(name).path for name in "bc"]
    assert read_table(spark, old, before).count() == 2
    for number, count in ((0, 0), (before, 2)):
        committed = (folder / "_delta_log" / f"{number:020}.json").stat().st_mtime
        time_text = datetime.fromtimestamp(committed + 0.1, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        assert (
            spark.read.option("timestampAsOf", time_text).format("delta").load(old).count() == count
        )


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("/data/My%20lake", "contains '%20'"),
        ("s3://bucket/My%2flake", "contains '%2f'"),
        ("/data/a\\b", "contains '\\\\'"),
        ("s3://bucket/a\\", "contains '\\\\'"),
        ("/data/caf\udce9", "contains '\\\\'"),
        ("/data/a`b", "contains '`'"),
        ("./fruit [v2]", "contains '['"),
        ("/data/a|b", "contains '|'"),
        ("/data/a^b/lake", "contains '^'"),
        ("/data/a\tb", "contains '\\t'"),
        ("s3://bucket/a\nb", "contains '\\n'"),
        ("/data/a\x7f", "contains '\\x7f'"),
        ("/data/10:30 {a}", "a colon and one of"),
        ("s3://bucket//lake", "an empty part"),
        ("s3://bucket/a/../lake", "a part of dots"),
        ("s3://bucket/./lake", "a part of dots"),
        (f"s3://bucket/{'é' * 387}/a", "has 776 bytes"),
    ],
)
def test_path_that_no_table_can_have_is_rejected(location: str, problem: str) -> None:
    with pytest.raises(LakeError, match=re.escape(problem)):
        Lake.at(location)


@pytest.mark.parametrize("separator", ["\x85", "\u2028"])
def test_line_break_of_xml_is_rejected_in_prefix_of_s3_only(separator: str, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=re.escape(f"contains {separator!a}")):
        Lake.at(f"s3://bucket/a{separator}b")
    assert Lake.at(f"{tmp_path}/a{separator}b").root.endswith(f"/a{separator}b")


@pytest.mark.parametrize(
    "prefix",
    [
        "fruit [v2]",
        "a|b^c",
        "50% off",
        "%zz",
        "a+b=c",
        "{a,b}*",
        "a#b?c",
        "10:30",
        "x" * 774,
        " trailing ",
        "",
    ],
)
def test_prefix_of_s3_that_tables_can_have_is_unchanged(prefix: str) -> None:
    assert Lake.at(f"s3://bucket/{prefix}/").root == f"s3a://bucket/{prefix}".rstrip("/")
