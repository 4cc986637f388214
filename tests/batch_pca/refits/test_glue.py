"""Tests for `batch_pca.refits.glue`, on moto's Glue over HTTP; `tests/batch_pca/test_refit_s3.py` registers a refit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet
import pytest
from deltalake import write_deltalake

from batch_pca.refits.glue import check_database, hive_type, register_tables
from streaming.delta.tables import Column, Table
from streaming.errors import UsageError
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from support.aws.glue_tables import assert_registered
from support.lakes.refits_without_spark import ARROW_TYPES
from support.processes.cli import Command

STRUCT = {
    "type": "struct",
    "fields": [{"name": "a", "type": "integer"}, {"name": "b", "type": "date"}],
}


@pytest.mark.parametrize(
    ("delta", "hive"),
    [
        ("string", "string"),
        ("long", "bigint"),
        ("integer", "int"),
        ("short", "smallint"),
        ("byte", "tinyint"),
        ("boolean", "boolean"),
        ("decimal(10,2)", "decimal(10,2)"),
        ("timestamp_ntz", "timestamp"),
        ({"type": "array", "elementType": "float", "containsNull": True}, "array<float>"),
        ({"type": "map", "keyType": "string", "valueType": "long"}, "map<string,bigint>"),
        ({"type": "array", "elementType": STRUCT}, "array<struct<a:int,b:date>>"),
    ],
)
def test_delta_types_are_those_of_hive(delta: object, hive: str) -> None:
    assert hive_type(delta) == hive


def test_only_lakes_on_s3_are_registered(tmp_path: Path) -> None:
    check_database(Lake.at("s3://lakes/fruits"), "fruits_2")
    with pytest.raises(UsageError, match=r"^--glue-database 'My-Fruits': a name has 1 to 255"):
        check_database(Lake.at("s3://lakes/fruits"), "My-Fruits")
    with pytest.raises(UsageError, match="is not on S3, where Athena reads tables: omit it"):
        check_database(Lake.at(str(tmp_path)), "fruits")


@pytest.mark.s3
def test_entries_follow_tables_without_spark(
    pomona: Command, aws: dict[str, str], bucket: str
) -> None:
    lake, database = Lake.at(f"s3://{bucket}/a/lake"), bucket.replace("-", "_")
    write_format(lake.root)
    for table in (features_table(2), QUARANTINE, REFITS):
        create_empty(f"s3://{bucket}/a/lake/{table.name}", table, aws)
    boto3.client("glue").create_database(DatabaseInput={"Name": database})
    # The lake has no refit.
    assert register_tables(lake, database) == ["features", "quarantine", "refits"]
    publish_empty_refit(lake, "20260303T083001Z-v1-abcd", aws)
    assert register_tables(lake, database) == ["reduced"]
    assert_registered(database, aws, lake.root, "20260303T083001Z-v1-abcd")
    publish_empty_refit(lake, "20260303T083002Z-v1-abcd", aws)
    with_column = replace(
        QUARANTINE, columns=(*QUARANTINE.columns, Column("n", "double", "", True))
    )
    create_empty(f"s3://{bucket}/a/lake/quarantine", with_column, aws, schema_mode="overwrite")
    done = pomona("upgrade", f"s3://{bucket}/a/lake", "--glue-database", database)
    assert (done.status, done.err) == (0, "")
    assert_registered(database, aws, lake.root, "20260303T083002Z-v1-abcd")
    assert register_tables(lake, database) == []


def create_empty(location: str, table: Table, aws: dict[str, str], **options: Any) -> None:
    """Create a table without rows with delta-rs, or overwrite it."""
    fields = [
        pa.field(c.name, ARROW_TYPES[c.type], c.nullable, {"comment": c.comment})
        for c in table.columns
    ]
    write_deltalake(
        location,
        pa.schema(fields).empty_table(),
        mode="overwrite",
        description=table.comment,
        storage_options={**aws, "AWS_ALLOW_HTTP": "true"},
        **options,
    )


def publish_empty_refit(lake: Lake, refit_id: str, aws: dict[str, str]) -> None:
    """Write the Parquet file of a refit without rows, and its row in ``refits/``."""
    columns = [("path", pa.string()), ("label", pa.string()), ("reduced", pa.list_(pa.float64()))]
    buffer = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.schema(columns).empty_table(), buffer)
    bucket, _, prefix = lake.reduced.removeprefix("s3a://").partition("/")
    boto3.client("s3").put_object(
        Bucket=bucket,
        Key=f"{prefix}/{refit_id}/parquet/part-0.parquet",
        Body=buffer.getvalue().to_pybytes(),
    )
    now = datetime.now(UTC)
    row: dict[str, Any] = {
        c.name: None if c.nullable else {"string": "", "timestamp": now}.get(c.type, 0)
        for c in REFITS.columns
    }
    row |= {"refit_id": refit_id, "explained_variance_ratio": [1.0]}
    fields = [pa.field(c.name, ARROW_TYPES[c.type], c.nullable) for c in REFITS.columns]
    write_deltalake(
        lake.refits.replace("s3a://", "s3://"),
        pa.Table.from_pylist([row], pa.schema(fields)),
        mode="append",
        storage_options={**aws, "AWS_ALLOW_HTTP": "true"},
    )


@pytest.mark.s3
def test_failure_is_one_warning(
    aws: dict[str, str], bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**aws, "AWS_ALLOW_HTTP": "true"}
    write_deltalake(f"s3://{bucket}/features", pa.table({"path": ["a"]}), storage_options=options)
    assert register_tables(Lake.at(f"s3://{bucket}"), "no_such_database") == []
    (warning,) = caplog.messages
    assert "are not up to date in the Glue database no_such_database (An error occurred" in warning
    assert "EntityNotFoundException" in warning
