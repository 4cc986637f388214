"""Tests for `streaming.delta.log`: commits are read as Spark's ``DESCRIBE HISTORY`` returns them, without Spark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deltalake
import pytest
from delta.tables import DeltaTable
from pyspark.sql import functions as F

from streaming.delta.log import (
    parse_metadata,
    read_commits,
    read_commits_backwards,
    version_from_commit_info,
)
from streaming.lake.layout import Lake
from support.feature_lakes import commit, delete, images, new_lake


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Return a lake whose features were appended to, merged into, deleted from and compacted."""
    lake = new_lake(spark, tmp_path_factory.mktemp("log") / "lake", 16)
    rows = images(4, 1, width=16)
    commit(spark, lake, rows)
    commit(spark, lake, images(6, 1, width=16), known=True)
    delete(spark, lake, rows.paths[:1])
    spark.sql(f"OPTIMIZE delta.`{lake.features}`")
    return lake


@pytest.mark.spark
def test_read_commits_equals_history_of_spark(spark: Any, lake: Lake) -> None:
    commits = read_commits(lake.features)
    history = DeltaTable.forPath(spark, lake.features).history()
    rows = history.withColumn("ms", F.unix_millis("timestamp")).orderBy("version").collect()
    assert commits == [version_from_commit_info(row.version, row.ms, row.asDict()) for row in rows]
    assert read_commits(lake.features, 3) == commits[-3:]
    counts = [(v.added, v.replaced, v.removed) for v in commits if v.changed_rows]
    assert counts == [(4, 0, 0), (2, 4, 0), (0, 0, 1)]
    assert commits[2].metadata["source"] == "file:/photos"


@pytest.mark.spark
def test_read_commits_backwards_yields_newest_first(lake: Lake) -> None:
    commits = read_commits(lake.features)
    newest = commits[-1].number
    assert list(read_commits_backwards(lake.features, newest, newest - 2)) == commits[:-4:-1]


@pytest.mark.spark
def test_read_commits_of_truncated_log_returns_remaining_commits(
    spark: Any, tmp_path: Path
) -> None:
    lake = new_lake(spark, tmp_path / "lake", 16)
    for seed in range(3):
        commit(spark, lake, images(2, seed, width=16))
    table = deltalake.DeltaTable(lake.features.removeprefix("file:"))
    table.create_checkpoint()
    for number in range(3):
        Path(table.table_uri.removeprefix("file://"), "_delta_log", f"{number:020}.json").unlink()
    assert [version.number for version in read_commits(lake.features)] == [3, 4]
    assert [version.number for version in read_commits_backwards(lake.features, 4)] == [4, 3]


def test_commit_info_of_other_writers_may_lack_fields() -> None:
    empty = version_from_commit_info(3, 0, {})
    assert (empty.operation, empty.changed_rows, empty.metadata) == ("", False, {})
    info = {"operation": "WRITE", "operationMetrics": {"num_added_rows": 7, "predicate": "x"}}
    assert version_from_commit_info(3, 0, info).added == 7
    metrics = {"num_target_rows_inserted": 1, "num_target_rows_updated": 2}
    merged = version_from_commit_info(3, 0, {"operation": "MERGE", "operationMetrics": metrics})
    assert (merged.added, merged.replaced, merged.removed) == (1, 2, 0)
    assert parse_metadata("[1]") == parse_metadata("not JSON") == parse_metadata(None) == {}
