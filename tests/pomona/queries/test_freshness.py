"""Tests for `pomona status --max-age`: what is late is named, exit status 3, no JVM, on folders and on S3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pomona.queries.freshness import MONITORED_EVENTS, find_overdue, parse_max_ages
from streaming.delta.writer import Writer
from streaming.lake.layout import Lake, create_tables
from streaming.lake.schemas import REFITS
from streaming.storage.interface import StoredFile
from support.cli import Command, environment
from support.table_rows import FEATURES, add_features, append, features_row

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
SLOW = {"pyspark", "py4j", "delta", "tensorflow", "keras", "onnxruntime", "matplotlib", "pandas"}


def image(name: str) -> StoredFile:
    return StoredFile(f"file:/images/Fig/{name}.jpg", 5, 1_700_000_000_123)


def test_one_limit_is_for_all_that_is_watched_and_a_later_one_counts() -> None:
    assert parse_max_ages(["10m"]) == dict.fromkeys(MONITORED_EVENTS, ("10m", 600))
    limits = parse_max_ages(["10m", "refit=25h"])
    assert limits["refit"] == ("25h", 90_000)
    assert limits["row"] == limits["batch"] == ("10m", 600)
    assert set(parse_max_ages(["refit=25h"])) == {"refit"}


@pytest.mark.parametrize("words", ["soon", "0m", "10", "fit=1h", "refit=", "refit=soon", "=1h x"])
def test_limits_that_mean_nothing_are_wrong_words(pomona: Command, words: str) -> None:
    done = pomona("status", "lake", "--max-age", words)
    assert (done.status, "--max-age" in done.complaint) == (2, True)


def answer(**minutes_ago: int) -> dict[str, Any]:
    """What `read_freshness` says of a lake made a day ago."""
    at = {
        what: (NOW - timedelta(minutes=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for what, ago in ({"created": 1440} | minutes_ago).items()
    }
    return {
        "created": at["created"],
        **{f"last_{what}": at.get(what) for what in MONITORED_EVENTS},
    }


@pytest.mark.parametrize(
    ("minutes_ago", "limits", "late"),
    [
        ({"row": 5, "batch": 5, "refit": 5}, ["10m"], []),
        ({"row": 15, "batch": 5, "refit": 65}, ["10m"], ["row", "refit"]),
        ({"row": 15, "batch": 5, "refit": 65}, ["20m", "refit=2h"], []),
        ({"row": 15, "batch": 15, "refit": 65}, ["batch=10m"], ["batch"]),
        ({"row": 5, "batch": 5}, ["10m"], ["refit"]),  # none yet: as old as the lake
        ({"row": 5, "batch": 5}, ["25h"], []),
        ({"created": 5}, ["10m"], []),
    ],
)
def test_what_is_longer_ago_than_its_limit_is_late(
    minutes_ago: dict[str, int], limits: list[str], late: list[str]
) -> None:
    found = find_overdue(answer(**minutes_ago), parse_max_ages(limits), NOW)
    assert [item["what"] for item in found] == late
    for item in found:
        assert item["seconds_ago"] > item["limit_seconds"]
        assert item["what"] in item["message"]


@pytest.fixture(scope="module")
def lake(spark: SparkSession, new_lake: Callable[[], Path]) -> Lake:
    """One row, computed two hours ago, in a batch committed an hour ago; no refit."""
    lake = Lake.at(str(new_lake()))
    row = features_row(image("a"), datetime.now(UTC) - timedelta(hours=2))
    frame = spark.createDataFrame([row], FEATURES.ddl)
    Writer(spark, lake.features, {"source": "file:/images", "images": 1}).upsert(frame, merge=False)
    log = Path(lake.features.removeprefix("file:"), "_delta_log", f"{1:020}.json")
    then = datetime.now(UTC).timestamp() - 3600
    os.utime(log, (then, then))
    return lake


@pytest.mark.spark
@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (["3h"], []),
        (["90m", "refit=1d"], ["row"]),
        (["10m", "refit=1d"], ["row", "batch"]),
        (["batch=30m"], ["batch"]),
        (["refit=1s"], ["refit"]),
    ],
)
def test_the_command_exits_with_3_and_says_which_is_late(
    lake: Lake, pomona: Command, limits: list[str], named: list[str]
) -> None:
    words = [word for limit in limits for word in ("--max-age", limit)]
    done = pomona("status", lake.root, *words)
    assert done.status == (3 if named else 0)
    assert done.err.count("\n") == (1 if named else 0)
    for what in MONITORED_EVENTS:
        assert (f"last {what} was" in done.err or f"no {what} yet" in done.err) == (what in named)
    assert "rows         1\n" in done.out
    told = pomona("status", lake.root, *words, "--json")
    assert told.status == (3 if named else 0)
    assert [item["what"] for item in told.json["overdue"]] == named


def loaded(words: list[str]) -> set[str]:
    """The first names of what a command has imported when it ends; it must have answered."""
    program = (
        f"import sys; sys.argv = ['pomona', *{words!r}]\n"
        "from pomona.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: assert left.code in (None, 0, 3), left.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.spark
@pytest.mark.parametrize(
    "words", [["status", "--max-age", "10m"], ["history"], ["quarantine", "--json"]]
)
def test_a_lake_is_read_without_spark(lake: Lake, words: list[str]) -> None:
    assert not loaded([*words, lake.root]) & (SLOW | {"boto3"})


@pytest.mark.spark
def test_a_damaged_table_is_told_in_one_line(lake: Lake, tmp_path: Path, pomona: Command) -> None:
    copy = Path(shutil.copytree(lake.root.removeprefix("file:"), tmp_path / "lake"))
    for file in copy.glob("features/*.parquet"):
        file.unlink()
    assert "not found" in pomona("status", copy).complaint
    assert pomona("status", copy, "--max-age", "3h").status == 0  # it needs the log alone
    shutil.rmtree(copy / "quarantine")
    assert pomona("quarantine", copy).complaint
    assert pomona("status", copy, "--max-age", "3h").complaint


@pytest.mark.spark
def test_the_backlog_needs_no_spark_either(lake: Lake) -> None:
    assert not loaded(["status", lake.root]) & (SLOW - {"pandas"})


@pytest.mark.s3
def test_a_lake_on_s3_is_read_without_spark(
    spark: SparkSession, bucket: str, pomona: Command
) -> None:
    lake = Lake.at(f"s3://{bucket}/lakes/My lake")
    create_tables(spark, lake, 1280)
    add_features(spark, lake, [image("a")], datetime.now(UTC) - timedelta(hours=2))
    assert not loaded(["status", lake.root, "--max-age", "10m"]) & SLOW
    done = pomona("status", lake.root, "--max-age", "row=1h")
    assert done.status == 3
    assert "the last row was" in done.err
    assert [row["total"] for row in pomona("history", lake.root, "--json").json] == [0, 1]
    assert pomona("quarantine", lake.root, "--json").json == []


@pytest.mark.spark
def test_a_refit_stays_fresh_where_files_alone_have_changed(
    spark: SparkSession, new_lake: Callable[[], Path], pomona: Command
) -> None:
    lake = Lake.at(str(new_lake()))
    for name in ("a", "b"):
        add_features(spark, lake, [image(name)], NOW)
    row = {"refit_id": "r", "features_version": 2, "features_timestamp": NOW, "model_id": "m"}
    row |= {"parameters": "{}", "rows": 2, "rows_fitted": 2, "components": 1, "seconds": 1.0}
    row |= {"explained_variance_ratio": [1.0], "created_at": NOW, "pomona_version": "0"}
    append(spark, lake.refits, REFITS.ddl, [row])

    def stale() -> bool:
        return bool(pomona("status", lake.root, "--json").json["last_refit"]["stale"])

    assert not stale()
    spark.sql(f"OPTIMIZE delta.`{lake.features}`")
    assert not stale()
    spark.sql(f"DELETE FROM delta.`{lake.features}` WHERE path LIKE '%a.jpg'")
    assert stale()
