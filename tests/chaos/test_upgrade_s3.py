"""Tests for upgrading a lake of format 1 on S3."""

from __future__ import annotations

import json

import pytest
from pyspark.sql import SparkSession

from streaming.lake.format_version import FORMAT
from streaming.storage.open import open_storage
from support.lakes.format1_lake import create_format1_lake
from support.processes.cli import Command


@pytest.mark.s3
def test_lake_on_s3_is_upgraded(
    spark: SparkSession,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pomona = Command(monkeypatch, capsys)
    lake = create_format1_lake(spark, f"s3://{bucket}/lake")
    assert "has format 1" in pomona("refit", lake.root).error_line
    assert pomona("upgrade", lake.root).status == 0
    document = json.loads(open_storage(lake.root).read(f"{lake.root}/lake.json", None))
    assert document["format"] == FORMAT
    assert pomona("status", lake.root, "--json").json["rows"] == 1
