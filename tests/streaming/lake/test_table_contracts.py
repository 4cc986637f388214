"""Tests for the constraints of the tables: Spark and delta-rs reject invalid rows and append valid ones.

Delta has no unique keys. That a path is in a table only once is ensured by Pomona, not by the table.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE
from streaming.model.mobilenet_v2 import WIDTH
from streaming.storage.interface import StoredFile
from support.lakes.small_lakes import rows, version
from support.lakes.table_rows import FEATURES, append, features_row, quarantine_row

pytestmark = pytest.mark.spark

NOW = datetime(2026, 3, 3, 8, tzinfo=UTC)
IMAGE = StoredFile("file:/images/Fig/a.jpg", 5, 1_700_000_000_123)
FEATURE, FAILED = features_row(IMAGE, NOW), quarantine_row(IMAGE, NOW)
SCHEMAS = {
    "features": (
        "path string, label string, length int64, modification_time time, content_hash string, width int32, "
        "height int32, format string, features list, model_id string, ingested_at time, batch_id int64"
    ),
    "quarantine": (
        "path string, label string, length int64, modification_time time, content_hash string, reason string, "
        "detail string, attempts int32, ingested_at time, batch_id int64"
    ),
}
TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "time": pa.timestamp("us", "UTC"),
    "list": pa.list_(pa.float32()),
}
NULLS = [{name: None} for name in (FEATURE | FAILED) if name not in ("path", "reason")]
NAN, INFINITY = float("nan"), float("inf")
INVALID: list[tuple[str, dict[str, Any]]] = [
    *(("features", {name: None}) for name in FEATURE),
    ("features", {"features": []}),
    ("features", {"features": [0.0] * (WIDTH - 1)}),
    ("features", {"features": [0.0] * (WIDTH + 1)}),
    ("features", {"features": [0.0] * (WIDTH - 1) + [NAN]}),
    ("features", {"features": [INFINITY] + [0.0] * (WIDTH - 1)}),
    ("features", {"features": [None] * WIDTH}),
    *(("quarantine", {name: None}) for name in FAILED if name != "content_hash"),
    ("quarantine", {"reason": "felt like it"}),
    ("quarantine", {"reason": ""}),
    ("quarantine", {"attempts": 0}),
]


@pytest.fixture(scope="module")
def lake(new_lake: Callable[[], Path]) -> Lake:
    return Lake.at(str(new_lake()))


def append_with_spark(spark: SparkSession, lake: Lake, name: str, row: dict[str, Any]) -> None:
    ddl = (FEATURES if name == "features" else QUARANTINE).ddl
    append(spark, f"{lake.root}/{name}", ddl, [row])


def append_with_delta_rs(lake: Lake, name: str, row: dict[str, Any]) -> None:
    fields = [field.rsplit(" ", 1) for field in SCHEMAS[name].split(", ")]
    columns = {column: pa.array([row[column]], TYPES[kind]) for column, kind in fields}
    location = f"{lake.root}/{name}".removeprefix("file:")
    deltalake.write_deltalake(location, pa.table(columns), mode="append")


@pytest.mark.parametrize(("name", "changed"), INVALID, ids=lambda value: str(value)[:40])
def test_invalid_rows_are_rejected(
    spark: SparkSession, lake: Lake, name: str, changed: dict[str, Any]
) -> None:
    row = (FEATURE if name == "features" else FAILED) | changed
    before = version(f"{lake.root}/{name}")
    if changed not in NULLS:  # Spark takes 0.5 s each, and checks all nulls alike
        with pytest.raises(Exception, match=r"DELTA_(VIOLATE|NOT_NULL)"):
            append_with_spark(spark, lake, name, row)
    with pytest.raises(Exception, match=r"failed validation|[Nn]ull"):
        append_with_delta_rs(lake, name, row)
    assert version(f"{lake.root}/{name}") == before


def test_valid_rows_are_appended(spark: SparkSession, new_lake: Callable[[], Path]) -> None:
    lake = Lake.at(str(new_lake()))
    for name, row in (("features", FEATURE), ("quarantine", FAILED)):
        append_with_spark(spark, lake, name, row)
        append_with_delta_rs(lake, name, row)
        assert [found["path"] for found in rows(f"{lake.root}/{name}")] == [IMAGE.path] * 2
