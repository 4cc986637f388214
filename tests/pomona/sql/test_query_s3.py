"""Tests for queries on S3: SQL, `similar`, `duplicates` and the Python API; nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import pomona
from streaming.storage.open import open_storage
from support.lakes.deltars_lakes import use_cache_folder
from support.lakes.query_lakes import create_query_lake
from support.processes.cli import Command

pytestmark = pytest.mark.s3


@pytest.mark.long
def test_queries_on_s3_match_local_results(
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
    parts = (f"SELECT '{name}' AS name, count(*) AS n FROM {name}" for name in counts)
    rows = command("query", root, " UNION ALL ".join(parts), "--json").json
    assert {row["name"]: row["n"] for row in rows} == counts
    result = command(
        "similar", root, query_lake.first.paths[0], "--as-of", 2, "--top", 3, "--json"
    ).json
    assert (result["rows"], len(result["neighbors"])) == (40, 3)
    # Both deliveries number their content hashes from 0.
    groups = command("duplicates", root, "--same-bytes", "--json").json["same_bytes"]
    assert len(groups) == len(query_lake.second.paths)
    lake = pomona.open_lake(root)
    assert lake.features_arrow(columns=["path"]).num_rows == 60
    features = lake.features_arrow(columns=["path", "features"]).sort_by("path")
    assert lake.latest_pca().transform(features).shape == (60, 3)
    assert lake.reduced_arrow().num_rows == 60
    assert tree() == before
