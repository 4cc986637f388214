"""A tagged version survives a VACUUM by whoever comes, of delta-rs and of Spark, on a log dated back."""

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

from pomona.queries.tags import retention_note, tag
from streaming.delta.tables import RETENTION_PROPERTIES
from streaming.errors import SnapshotError
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.lake.retention import configured_retention, required_retention, retention_days_for
from streaming.lake.tags import Tag, read_tags, set_tag
from streaming.lake.versions import resolve_version
from support.cli import Command

pytestmark = pytest.mark.spark

AGES = (50, 40, 30, 10, 0)  # days
FILES = "delta.deletedFileRetentionDuration"


def place(lake: Lake) -> str:
    return lake.features.removeprefix("file:")


def table_of(lake: Lake, version: int | None = None) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(place(lake), version=version)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Five versions, each of which removes the rows of the one before, in a table that promises what Delta does."""
    lake = Lake.at(str(tmp_path / "My 'lake'"))
    write_format(lake.root)
    folder = Path(place(lake))
    for number, age in enumerate(AGES):
        rows = pa.table({"path": [f"{number}.jpg"]})
        deltalake.write_deltalake(str(folder), rows, mode="overwrite")
        log = folder / "_delta_log" / f"{number:020}.json"
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            for name, field in (("remove", "deletionTimestamp"), ("add", "modificationTime")):
                if name in action:
                    action[name][field] -= age * 86_400_000
        log.write_text("\n".join(map(json.dumps, actions)) + "\n")
        moment = datetime.now(UTC).timestamp() - age * 86_400
        for file in (log, *folder.glob("*.parquet")):
            os.utime(file, (min(moment, file.stat().st_mtime),) * 2)
    return lake


def tagged(lake: Lake, name: str, version: int) -> Tag:
    """A tag alone, as a program that knows nothing of VACUUM would give it."""
    found = Tag(name, version, resolve_version(lake, str(version)).committed, datetime.now(UTC))
    set_tag(lake, found)
    return found


def by_delta_rs(lake: Lake, _: SparkSession) -> None:
    table_of(lake).vacuum(dry_run=False)


def by_spark(lake: Lake, spark: SparkSession) -> None:
    spark.sql(f"VACUUM delta.`{lake.features}`")


@pytest.mark.parametrize("vacuum", [by_delta_rs, by_spark])
def test_a_plain_vacuum_takes_old_versions_unless_one_is_tagged(
    lake: Lake, spark: SparkSession, tmp_path: Path, vacuum: Any
) -> None:
    given = tag(lake.root, "audit", "2", force=False)
    assert given["kept_for_days"] == 3650
    vacuum(lake, spark)
    found = resolve_version(lake, "audit")
    assert found.number == 2
    assert table_of(lake, 2).to_pyarrow_table().to_pylist() == [{"path": "2.jpg"}]
    reader = spark.read.format("delta").option("versionAsOf", 2)
    assert [row.path for row in reader.load(lake.features).collect()] == ["2.jpg"]
    # Told a shorter time, the same VACUUM takes what is tagged: it is the tag that held it off.
    table_of(lake).alter.set_table_properties(
        dict.fromkeys(RETENTION_PROPERTIES, "interval 1 week")
    )
    vacuum(lake, spark)
    told = r"^version 2 was removed by VACUUM: there are 3 "
    if vacuum is by_spark and pyspark.__version__.startswith("4.0"):  # it takes the log too
        told = r"^tag audit names version 2, which is no longer in the log: there are "
    with pytest.raises(SnapshotError, match=told):
        resolve_version(lake, "audit")


def test_a_vacuum_that_is_told_less_takes_nothing(lake: Lake, spark: SparkSession) -> None:
    tag(lake.root, "audit", "2", force=False)
    with suppress(PySparkException):  # Delta 3.3 and 4.0 refuse, 4.4 keeps to the property
        spark.sql(f"VACUUM delta.`{lake.features}` RETAIN 168 HOURS").collect()
    with pytest.raises(Exception, match=r"(?i)retention"):
        table_of(lake).vacuum(retention_hours=168, dry_run=False)
    assert table_of(lake, 2).to_pyarrow_table().num_rows == 1


def test_tables_are_told_once_and_those_that_promise_enough_never(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pomona = Command(monkeypatch, capsys)
    said = pomona("tag", lake.root, "audit", "--as-of", "2").out
    assert "the tables now keep removed files for 3,650 days, so that VACUUM keeps this" in said
    assert "for 31 days or longer, the age of the oldest tag; the tables tell it 3,650" in said
    told = table_of(lake).metadata().configuration
    assert [told[name] for name in RETENTION_PROPERTIES] == ["interval 3650 days"] * 2
    version = table_of(lake).version()
    assert tag(lake.root, "later", "3", force=False)["kept_for_days"] is None
    assert "keep removed files" not in pomona("tag", lake.root, "last").out
    assert table_of(lake).version() == version
    assert pomona("tag", lake.root, "audit", "--as-of", "3").status == 2  # and tells no table
    assert table_of(lake).version() == version


def test_a_name_that_cannot_be_given_tells_no_table(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pomona = Command(monkeypatch, capsys)
    assert "a letter, then letters" in pomona("tag", lake.root, "1st").complaint
    assert table_of(lake).version() == len(AGES) - 1


def test_other_tables_of_the_lake_keep_theirs_too(lake: Lake) -> None:
    quarantine = lake.quarantine.removeprefix("file:")
    deltalake.write_deltalake(quarantine, pa.table({"path": ["x.jpg"]}))
    assert tag(lake.root, "audit", "2", force=False)["kept_for_days"] == 3650
    told = deltalake.DeltaTable(quarantine).metadata().configuration
    assert told[FILES] == "interval 3650 days"


def test_a_vacuum_that_keeps_as_long_as_the_tags_ask_spares_them_and_no_more(lake: Lake) -> None:
    tagged(lake, "audit", 2)
    tagged(lake, "later", 3)
    keep = required_retention(read_tags(lake), datetime.now(UTC))
    hours = int(keep / timedelta(hours=1)) + 1
    table_of(lake).vacuum(retention_hours=hours, enforce_retention_duration=False, dry_run=False)
    assert resolve_version(lake, "audit").number == 2
    with pytest.raises(SnapshotError, match=r"^version 0 was removed by VACUUM: there are 1 "):
        resolve_version(lake, "0")


def test_tables_that_promise_less_than_the_oldest_tag_needs_are_told_of(lake: Lake) -> None:
    assert retention_note(lake.root) is None
    tagged(lake, "audit", 2)
    note = retention_note(lake.root)
    assert note
    assert "for 31 days or longer, the age of the oldest tag, and the tables tell it 7" in note
    assert "give one of the tags again, which sets it" in note
    assert tag(lake.root, "audit", "2", force=False)["kept_for_days"] == 3650
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
def test_an_interval_is_read_as_delta_takes_it(
    lake: Lake, spark: SparkSession, interval: str, length: timedelta
) -> None:
    properties = ", ".join(f"'{name}' = '{interval}'" for name in RETENTION_PROPERTIES)
    spark.sql(f"ALTER TABLE delta.`{lake.features}` SET TBLPROPERTIES ({properties})")
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(  # type: ignore[union-attr]
        spark._jsparkSession, lake.features
    )
    kept = log.tombstoneRetentionMillis(log.unsafeVolatileSnapshot().metadata())
    assert configured_retention(lake) == length == timedelta(milliseconds=kept)


def test_a_very_old_tag_asks_for_more_than_tables_have(lake: Lake) -> None:
    spark_like = dict.fromkeys(RETENTION_PROPERTIES, "interval 3650 days")
    table_of(lake).alter.set_table_properties(spark_like)
    now = datetime.now(UTC)
    ages = {years: Tag("x", 0, now - timedelta(365 * years), now) for years in (1, 8, 10)}
    assert retention_days_for(lake, ages[1], now) is None
    assert retention_days_for(lake, ages[8], now) is None
    assert retention_days_for(lake, ages[10], now) == 3650 + 3650 + 1  # and the hour for clocks
