"""Tests for `streaming.lake.retention`: VACUUM of delta-rs and Spark keeps tagged versions (on a backdated log)."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyspark
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pomona.queries.tags import create_tag, retention_note
from streaming.delta.tables import RETENTION_PROPERTIES
from streaming.errors import SnapshotError
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.lake.retention import configured_retention, required_retention, retention_days_for
from streaming.lake.tags import Tag, read_tags, set_tag
from streaming.lake.versions import resolve_version
from support.processes.cli import Command

pytestmark = pytest.mark.spark

AGES = (50, 40, 30, 10, 0)  # days
FILES = "delta.deletedFileRetentionDuration"


def folder_of(lake: Lake) -> str:
    return lake.features.removeprefix("file:")


def table_of(lake: Lake, version: int | None = None) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(folder_of(lake), version=version)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with five versions, each of which replaces all rows, and with Delta's default retention."""
    lake = Lake.at(str(tmp_path / "My 'lake'"))
    write_format(lake.root)
    folder = Path(folder_of(lake))
    for number, age in enumerate(AGES):
        rows = pa.table({"path": [f"{number}.jpg"]})
        deltalake.write_deltalake(str(folder), rows, mode="overwrite")
        log = folder / "_delta_log" / f"{number:020}.json"
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            for name, field in (("remove", "deletionTimestamp"), ("add", "modificationTime")):
                if name in action:
                    action[name][field] -= age * 86_400_000
            if "commitInfo" in action:
                action["commitInfo"]["timestamp"] -= age * 86_400_000
        log.write_text("\n".join(map(json.dumps, actions)) + "\n")
        time = datetime.now(UTC).timestamp() - age * 86_400
        for file in (log, *folder.glob("*.parquet")):
            os.utime(file, (min(time, file.stat().st_mtime),) * 2)
    return lake


def tag_only(lake: Lake, name: str, version: int) -> Tag:
    """Create a tag without changing the retention of the tables."""
    created = Tag(name, version, resolve_version(lake, str(version)).committed, datetime.now(UTC))
    set_tag(lake, created)
    return created


def vacuum_with_delta_rs(lake: Lake, _: SparkSession) -> None:
    table_of(lake).vacuum(dry_run=False)


def vacuum_with_spark(lake: Lake, spark: SparkSession) -> None:
    spark.sql(f"VACUUM delta.`{lake.features}`")


@pytest.mark.long
@pytest.mark.parametrize("vacuum", [vacuum_with_delta_rs, vacuum_with_spark])
def test_vacuum_with_default_retention_keeps_tagged_version(
    lake: Lake, spark: SparkSession, tmp_path: Path, vacuum: Any
) -> None:
    result = create_tag(lake.root, "audit", "2", force=False)
    assert result["kept_for_days"] == 3650
    vacuum(lake, spark)
    assert resolve_version(lake, "audit").number == 2
    assert table_of(lake, 2).to_pyarrow_table().to_pylist() == [{"path": "2.jpg"}]
    reader = spark.read.format("delta").option("versionAsOf", 2)
    assert [row.path for row in reader.load(lake.features).collect()] == ["2.jpg"]
    # With a shorter retention, VACUUM deletes the files of the tagged version.
    table_of(lake).alter.set_table_properties(
        dict.fromkeys(RETENTION_PROPERTIES, "interval 1 week")
    )
    vacuum(lake, spark)
    message = r"^version 2 was removed by VACUUM: available are 3 "
    if vacuum is vacuum_with_spark and not pyspark.__version__.startswith("4.2"):
        # Earlier releases also clean up the log.
        message = r"^tag audit points to version 2, which is no longer in the log: available are "
    with pytest.raises(SnapshotError, match=message):
        resolve_version(lake, "audit")


def test_vacuum_with_shorter_retention_is_rejected_or_deletes_nothing(
    lake: Lake, spark: SparkSession
) -> None:
    create_tag(lake.root, "audit", "2", force=False)
    with suppress(PySparkException):  # Delta 3.3 and 4.0 reject this, 4.4 uses the property
        spark.sql(f"VACUUM delta.`{lake.features}` RETAIN 168 HOURS").collect()
    with pytest.raises(Exception, match=r"(?i)retention"):
        table_of(lake).vacuum(retention_hours=168, dry_run=False)
    assert table_of(lake, 2).to_pyarrow_table().num_rows == 1


def test_retention_is_set_once_and_not_if_long_enough(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pomona = Command(monkeypatch, capsys)
    output = pomona("tag", lake.root, "audit", "--as-of", "2").out
    assert "the tables now keep removed files for 3,650 days, so that VACUUM keeps this" in output
    assert (
        "for at least 31 days, the age of the oldest tagged version; the tables are set to 3,650 days"
        in output
    )
    properties = table_of(lake).metadata().configuration
    assert [properties[name] for name in RETENTION_PROPERTIES] == ["interval 3650 days"] * 2
    version = table_of(lake).version()
    assert create_tag(lake.root, "later", "3", force=False)["kept_for_days"] is None
    assert "the tables now keep removed files" not in pomona("tag", lake.root, "last").out
    assert table_of(lake).version() == version
    assert pomona("tag", lake.root, "audit", "--as-of", "3").status == 2  # and changes no table
    assert table_of(lake).version() == version


def test_invalid_tag_name_does_not_change_retention(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pomona = Command(monkeypatch, capsys)
    assert "a letter, then letters" in pomona("tag", lake.root, "1st").error_line
    assert table_of(lake).version() == len(AGES) - 1


def test_retention_is_set_for_all_tables(lake: Lake) -> None:
    quarantine = lake.quarantine.removeprefix("file:")
    deltalake.write_deltalake(quarantine, pa.table({"path": ["x.jpg"]}))
    assert create_tag(lake.root, "audit", "2", force=False)["kept_for_days"] == 3650
    properties = deltalake.DeltaTable(quarantine).metadata().configuration
    assert properties[FILES] == "interval 3650 days"


def test_vacuum_with_required_retention_keeps_tagged_versions_only(lake: Lake) -> None:
    tag_only(lake, "audit", 2)
    tag_only(lake, "later", 3)
    retention = required_retention(read_tags(lake), datetime.now(UTC))
    hours = int(retention / timedelta(hours=1)) + 1
    table_of(lake).vacuum(retention_hours=hours, enforce_retention_duration=False, dry_run=False)
    assert resolve_version(lake, "audit").number == 2
    with pytest.raises(SnapshotError, match=r"^version 0 was removed by VACUUM: available are 1 "):
        resolve_version(lake, "0")


def test_retention_note_reports_too_short_retention(lake: Lake) -> None:
    assert retention_note(lake.root) is None
    tag_only(lake, "audit", 2)
    note = retention_note(lake.root)
    assert note
    assert (
        "for at least 31 days, the age of the oldest tagged version, but the tables are set to 7 days"
        in note
    )
    assert "create one of the tags again to extend it" in note
    assert create_tag(lake.root, "audit", "2", force=False)["kept_for_days"] == 3650
    note = retention_note(lake.root)
    assert note
    assert "lost" not in note


@pytest.mark.parametrize(
    ("interval", "length"),
    [
        ("interval 2 weeks", timedelta(14)),
        ("interval 720 hours", timedelta(30)),
        ("interval 5000 days", timedelta(5000)),
        ("INTERVAL  1 Day", timedelta(1)),
    ],
)
def test_interval_is_parsed_as_in_delta(
    lake: Lake, spark: SparkSession, interval: str, length: timedelta
) -> None:
    properties = ", ".join(f"'{name}' = '{interval}'" for name in RETENTION_PROPERTIES)
    spark.sql(f"ALTER TABLE delta.`{lake.features}` SET TBLPROPERTIES ({properties})")
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(  # type: ignore[union-attr]
        spark._jsparkSession, lake.features
    )
    retention_ms = log.tombstoneRetentionMillis(log.unsafeVolatileSnapshot().metadata())
    assert configured_retention(lake) == length == timedelta(milliseconds=retention_ms)


def test_very_old_tag_needs_longer_retention_than_default(lake: Lake) -> None:
    properties = dict.fromkeys(RETENTION_PROPERTIES, "interval 3650 days")
    table_of(lake).alter.set_table_properties(properties)
    now = datetime.now(UTC)
    ages = {years: Tag("x", 0, now - timedelta(365 * years), now) for years in (1, 8, 10)}
    assert retention_days_for(lake, ages[1], now) is None
    assert retention_days_for(lake, ages[8], now) is None
    assert (
        retention_days_for(lake, ages[10], now) == 3650 + 3650 + 1
    )  # 1: the hour in case clocks differ, rounded up
