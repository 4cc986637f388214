"""Tests for the questions on S3: SQL over all tables and versions, likeness and duplicates, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import pomona
from streaming.storage.open import open_storage
from support.cli import Command
from support.deltars_lakes import use_cache_folder
from support.query_lakes import create_query_lake

pytestmark = pytest.mark.s3


def test_a_lake_on_s3_is_asked_like_a_folder(
    spark: SparkSession,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    query_lake = create_query_lake(spark, f"s3://{bucket}/lakes")
    use_cache_folder(monkeypatch, tmp_path)
    command = Command(monkeypatch, capsys)
    root = query_lake.lake.root

    def tree() -> dict[str, int]:
        return {file.path: file.modified_ms for file in open_storage(root).list(f"s3a://{bucket}")}

    before = tree()
    counts = {
        "features": 60,
        "features VERSION AS OF 2": 40,
        "quarantine": 0,
        "refits": 2,
        "reduced": 100,
    }
    parts = (f"SELECT '{name}' AS what, count(*) AS n FROM {name}" for name in counts)
    told = command("query", root, " UNION ALL ".join(parts), "--json").json
    assert {row["what"]: row["n"] for row in told} == counts
    like = command(
        "similar", root, query_lake.first.paths[0], "--as-of", 2, "--top", 3, "--json"
    ).json
    assert (like["rows"], len(like["neighbours"])) == (40, 3)
    # Both deliveries number their made-up contents from 0 on.
    groups = command("duplicates", root, "--same-bytes", "--json").json["same_bytes"]
    assert len(groups) == len(query_lake.second.paths)
    lake = pomona.open_lake(root)
    assert lake.features_arrow(columns=["path"]).num_rows == 60
    rows = lake.features_arrow(columns=["path", "features"]).sort_by("path")
    assert lake.latest_pca().transform(rows).shape == (60, 3)
    assert lake.reduced_arrow().num_rows == 60
    assert tree() == before
