"""Tests for `streaming.delta.writer` while delta-rs rewrites the same files."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import DeltaTable
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from streaming.delta import writer
from streaming.delta.writer import BatchId, Writer


def frame(spark: SparkSession, rows: dict[str, str]) -> DataFrame:
    return spark.createDataFrame([*rows.items()], "path string, value string")


def slow_frame(spark: SparkSession, rows: dict[str, str], folder: Path) -> DataFrame:
    """Rows whose computation waits until the file `continue` exists."""
    folder.mkdir()

    def wait(value: str) -> str:
        (folder / "started").touch()
        while not (folder / "continue").exists():
            time.sleep(0.05)
        return value

    return frame(spark, rows).withColumn("value", F.udf(wait, "string")("value"))


def create_table(spark: SparkSession, folder: Path) -> dict[str, str]:
    """A table with three files of two rows each."""
    for number in range(3):
        rows = {f"file:/{2 * number}": "old", f"file:/{2 * number + 1}": "old"}
        frame(spark, rows).write.format("delta").mode("append").save(str(folder))
    return {f"file:/{number}": "old" for number in range(6)}


def read(folder: Path) -> dict[str, str]:
    rows = DeltaTable(folder).to_pyarrow_table().to_pylist()
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row["value"] for row in rows}


def run_beside(change: Callable[[], None], folder: Path, beside: Callable[[], object]) -> None:
    """Call `beside` after `change` has begun to compute its rows, and before it commits them."""
    with ThreadPoolExecutor(1) as pool:
        changed = pool.submit(change)
        try:
            while not (folder / "started").exists() and not changed.done():
                time.sleep(0.05)
            beside()
        finally:
            (folder / "continue").touch()
        changed.result(60)


@pytest.mark.spark
def test_merge_is_repeated_after_a_concurrent_optimize(spark: SparkSession, tmp_path: Path) -> None:
    table = tmp_path / "table"
    expected = create_table(spark, table)
    new = {"file:/1": "new", "file:/9": "new"}
    rows = slow_frame(spark, new, tmp_path / "signals")
    target = Writer(spark, table.as_uri(), {}, BatchId("query", 7))
    run_beside(
        lambda: target.upsert(rows, merge=True),
        tmp_path / "signals",
        DeltaTable(table).optimize.compact,
    )
    assert read(table) == expected | new
    operations = [commit["operation"] for commit in DeltaTable(table).history()]
    assert operations[:2] == ["MERGE", "OPTIMIZE"]
    target.upsert(frame(spark, {"file:/1": "repeated"}), merge=True)
    assert read(table) == expected | new  # it has the same batch ID


@pytest.mark.spark
def test_merged_delete_is_repeated_after_a_concurrent_optimize(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_MAX_PATHS_IN_CONDITION", 1)
    table = tmp_path / "table"
    expected = create_table(spark, table)
    slow = slow_frame(spark, {"file:/0": "", "file:/5": ""}, tmp_path / "signals")
    monkeypatch.setattr(writer, "create_frame", lambda *_: slow.where("value = ''"))
    target = Writer(spark, table.as_uri(), {})
    run_beside(
        lambda: target.delete(["file:/0", "file:/5"]),
        tmp_path / "signals",
        DeltaTable(table).optimize.compact,
    )
    del expected["file:/0"], expected["file:/5"]
    assert read(table) == expected


@pytest.mark.spark
def test_conflict_with_changed_rows_is_raised(spark: SparkSession, tmp_path: Path) -> None:
    table = tmp_path / "table"
    expected = create_table(spark, table)
    rows = slow_frame(spark, {"file:/1": "new"}, tmp_path / "signals")
    target = Writer(spark, table.as_uri(), {})
    other = frame(spark, {"file:/1": "other"}).toPandas()

    def change() -> None:
        DeltaTable(table).merge(
            other, "old.path = new.path", source_alias="new", target_alias="old"
        ).when_matched_update_all().execute()

    with pytest.raises((PySparkException, Py4JError), match=r"(?i)concurrent"):
        run_beside(lambda: target.upsert(rows, merge=True), tmp_path / "signals", change)
    assert read(table) == expected | {"file:/1": "other"}
