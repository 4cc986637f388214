"""Tests for `pomona ingest --glue-database`: Athena finds the tables of a lake before its first refit."""

from __future__ import annotations

import threading
from pathlib import Path

import boto3
import pytest
from pyspark.sql import SparkSession

from batch_pca.refits import glue
from pomona.commands.ingest import registering_tables
from streaming.errors import UsageError
from streaming.ingest.settings import Stage
from support.aws.glue_tables import assert_registered
from support.lakes.small_lakes import photos, put_all, upload_tree
from support.processes.cli import Command


@pytest.mark.long
@pytest.mark.spark
@pytest.mark.s3
def test_tables_are_registered_by_ingest(
    spark: SparkSession,
    pomona: Command,
    random_model: Path,
    tmp_path: Path,
    aws: dict[str, str],
    bucket: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = bucket.replace("-", "_")
    catalog = boto3.client("glue")
    catalog.create_database(DatabaseInput={"Name": database})
    upload_tree(random_model, bucket, "lake/models")
    put_all(tmp_path, photos("Fig", range(2)))
    arguments = ("ingest", tmp_path, f"s3://{bucket}/lake", "--once", "--glue-database", database)
    assert pomona(*arguments).status == 0
    assert_registered(database, aws, f"s3://{bucket}/lake", refit_id=None)

    # Nothing is new, and Spark does not start.
    catalog.delete_table(DatabaseName=database, Name="features")
    assert pomona(*arguments).status == 0
    assert_registered(database, aws, f"s3://{bucket}/lake", refit_id=None)
    assert caplog.messages == []


def test_stream_registers_tables_once_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end, calls = threading.Event(), []

    def register(*arguments: object) -> None:
        may_end.wait(60)
        calls.append(arguments)

    monkeypatch.setattr(glue, "register_tables", register)
    stages = []
    with registering_tables(lambda *stage: stages.append(stage), "s3://b/lake", "fruits") as report:
        for stage in (Stage.LIST, Stage.PREPARE, Stage.LIST, Stage.PROCESS, Stage.LIST):
            report(stage, 7)
        assert (len(stages), calls) == (5, [])
        may_end.set()
    assert [database for _, database in calls] == ["fruits"]


def test_lake_in_folder_is_rejected(pomona: Command, tmp_path: Path) -> None:
    result = pomona("ingest", tmp_path, tmp_path / "lake", "--once", "--glue-database", "fruits")
    assert "is not on S3, where Athena reads tables: omit it" in result.error_line
    with pytest.raises(UsageError), registering_tables(print, "/lake", "fruits"):
        pass
