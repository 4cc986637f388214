"""Tests for `streaming.delta.log`: commits are read as Spark's ``DESCRIBE HISTORY`` returns them, without Spark."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deltalake
import pytest
from delta.tables import DeltaTable
from pyspark.sql import functions as F

from streaming.delta import log
from streaming.delta.log import (
    latest_commits,
    parse_metadata,
    read_commits,
    read_commits_backwards,
    version_from_commit_info,
)
from streaming.lake.layout import Lake
from streaming.storage.interface import StoredFile
from support.lakes.commit_times import copy_with_new_times, set_commit_time
from support.lakes.feature_lakes import commit, delete, images, new_lake


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Return a lake whose features were appended to, merged into, deleted from and compacted."""
    lake = new_lake(spark, tmp_path_factory.mktemp("log") / "lake", 16)
    rows = images(4, 1, width=16)
    commit(spark, lake, rows)
    commit(spark, lake, images(6, 1, width=16), known=True)
    delete(spark, lake, rows.paths[:1])
    spark.sql(f"OPTIMIZE delta.`{lake.features}`")
    for number in range(6):  # Spark returns the modification times
        set_commit_time(lake.features, number, 1_772_539_200.25 + 60 * number)
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
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


ADD = {"add": {"path": "a", "modificationTime": 5000}}
REMOVE = {"remove": {"path": "b", "deletionTimestamp": 6000}}
INFO = {"commitInfo": {"timestamp": 7000, "operation": "WRITE"}}


@pytest.mark.parametrize(
    ("actions", "expected_ms"),
    [
        ([{"commitInfo": {"timestamp": 7000, "inCommitTimestamp": 7500}}, ADD], 7500),
        ([ADD, REMOVE, INFO], 7000),
        ([ADD, REMOVE], 6000),
        ([{"metaData": {"id": "x", "createdTime": 4000}}, ADD], 5000),
        ([{"commitInfo": {"operation": "WRITE"}}, ADD], 5000),
        ([{"commitInfo": {"timestamp": None, "inCommitTimestamp": "soon"}}, ADD], 5000),
        ([{"commitInfo": {"timestamp": 10**18}}, ADD], 5000),
        ([{"txn": {"appId": "x", "version": 1}}], 9000),
    ],
)
def test_commit_time_is_read_from_the_commit(
    tmp_path: Path, actions: list[dict[str, Any]], expected_ms: int
) -> None:
    log = tmp_path / "_delta_log"
    log.mkdir()
    file = log / f"{0:020}.json"
    file.write_text("".join(json.dumps(action) + "\n" for action in actions))
    os.utime(file, (9, 9))
    (version,) = read_commits(f"file:{tmp_path}")
    assert version.committed.timestamp() * 1000 == expected_ms
    assert list(read_commits_backwards(f"file:{tmp_path}", 0)) == [version]


@pytest.mark.spark
def test_in_commit_timestamps_are_used_if_enabled(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "lake", 16)
    spark.sql(
        f"ALTER TABLE delta.`{lake.features}` SET TBLPROPERTIES ('delta.enableInCommitTimestamps' = 'true')"
    )
    commit(spark, lake, images(2, 1, width=16))
    copy = f"file:{copy_with_new_times(tmp_path / 'lake' / 'features', tmp_path / 'copy')}"
    history = spark.sql(f"DESCRIBE HISTORY delta.`{copy}`").select(
        "version", F.unix_millis("timestamp")
    )
    in_spark = dict(map(tuple, history.collect()))
    ours = {v.number: round(v.committed.timestamp() * 1000) for v in read_commits(copy)}
    assert {n: ours[n] for n in (2, 3)} == {n: in_spark[n] for n in (2, 3)}


@pytest.fixture
def long_log(tmp_path: Path) -> Path:
    """The log of a table with 30 commits and a checkpoint of version 20."""
    folder = tmp_path / "_delta_log"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:020}.json").write_text(
            json.dumps({"commitInfo": {"timestamp": 1 + number}})
        )
    (folder / f"{20:020}.checkpoint.parquet").touch()
    (folder / "_last_checkpoint").write_text('{"version": 20}')
    return folder


@pytest.mark.parametrize(("count", "most"), [(1, 14), (16, 28)])
def test_latest_commits_are_listed_from_the_last_checkpoint(
    long_log: Path, monkeypatch: pytest.MonkeyPatch, count: int, most: int
) -> None:
    names, list_log = list[str](), log.list_log

    def record(location: str, first: int = 0) -> Iterator[StoredFile]:
        for file in list_log(location, first):
            names.append(file.path)
            yield file

    monkeypatch.setattr(log, "list_log", record)
    commits = read_commits(f"file:{long_log.parent}", count)
    assert [commit.number for commit in commits] == list(range(30 - count, 30))
    assert len(names) == len(set(names)) <= most


@pytest.mark.parametrize(
    "hint", ["", "no JSON", '{"version": 0}', '{"version": 28}', '{"version": 99}', None]
)
def test_latest_commits_are_found_if_the_hint_is_wrong(long_log: Path, hint: str | None) -> None:
    file = long_log / "_last_checkpoint"
    if hint is None:
        file.unlink()
    else:
        file.write_text(hint)
    for removed in (0, 25):  # log cleanup
        for number in range(removed):
            (long_log / f"{number:020}.json").unlink()
        for count in (1, 3, 16, 40):
            commits = latest_commits(f"file:{long_log.parent}", count)
            expected = list(range(max(removed, 30 - count), 30))
            assert [commit.number for commit in commits] == expected
    assert latest_commits(f"file:{long_log}", 1) == []
