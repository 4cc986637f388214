"""Tests for `pomona status --max-age`: overdue events, exit code 3, no Spark, on local folders and S3."""

from __future__ import annotations

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
from support.lakes.commit_times import set_commit_time
from support.lakes.table_rows import FEATURES, add_features, append, features_row
from support.processes.cli import Command, environment

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
SLOW = {"pyspark", "py4j", "delta", "tensorflow", "keras", "onnxruntime", "matplotlib", "pandas"}


def image(name: str) -> StoredFile:
    return StoredFile(f"file:/images/Fig/{name}.jpg", 5, 1_700_000_000_123)


def test_parse_max_ages_applies_to_all_and_later_values_override() -> None:
    assert parse_max_ages(["10m"]) == dict.fromkeys(MONITORED_EVENTS, ("10m", 600))
    limits = parse_max_ages(["10m", "refit=25h"])
    assert limits["refit"] == ("25h", 90_000)
    assert limits["row"] == limits["batch"] == ("10m", 600)
    assert set(parse_max_ages(["refit=25h"])) == {"refit"}


@pytest.mark.parametrize(
    "arguments", ["soon", "0m", "10", "fit=1h", "refit=", "refit=soon", "=1h x"]
)
def test_invalid_max_age_is_a_usage_error(pomona: Command, arguments: str) -> None:
    done = pomona("status", "lake", "--max-age", arguments)
    assert (done.status, "--max-age" in done.error_line) == (2, True)


def answer(**minutes_ago: int) -> dict[str, Any]:
    """Return a result of `read_freshness` for a lake created one day ago."""
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
        ({"row": 5, "batch": 5}, ["10m"], ["refit"]),  # no refit yet: the age of the lake counts
        ({"row": 5, "batch": 5}, ["25h"], []),
        ({"created": 5}, ["10m"], []),
    ],
)
def test_find_overdue_returns_events_older_than_their_limit(
    minutes_ago: dict[str, int], limits: list[str], late: list[str]
) -> None:
    found = find_overdue(answer(**minutes_ago), parse_max_ages(limits), NOW)
    assert [item["event"] for item in found] == late
    for item in found:
        assert item["seconds_ago"] > item["limit_seconds"]
        assert item["event"] in item["message"]


@pytest.fixture(scope="module")
def lake(spark: SparkSession, new_lake: Callable[[], Path]) -> Lake:
    """Create a lake with one row computed two hours ago, in a batch committed one hour ago; no refit."""
    lake = Lake.at(str(new_lake()))
    row = features_row(image("a"), datetime.now(UTC) - timedelta(hours=2))
    frame = spark.createDataFrame([row], FEATURES.ddl)
    Writer(spark, lake.features, {"source": "file:/images", "images": 1}).upsert(frame, merge=False)
    set_commit_time(lake.features, 1, datetime.now(UTC).timestamp() - 3600)
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
def test_command_exits_with_3_and_lists_overdue_events(
    lake: Lake, pomona: Command, limits: list[str], named: list[str]
) -> None:
    options = [option for limit in limits for option in ("--max-age", limit)]
    done = pomona("status", lake.root, *options)
    assert done.status == (3 if named else 0)
    assert done.err.count("\n") == (1 if named else 0)
    for what in MONITORED_EVENTS:
        assert (f"last {what} was" in done.err or f"no {what} yet" in done.err) == (what in named)
    assert "rows         1\n" in done.out
    result = pomona("status", lake.root, *options, "--json")
    assert result.status == (3 if named else 0)
    assert [item["event"] for item in result.json["overdue"]] == named


def imported_packages(arguments: list[str]) -> set[str]:
    """Return the top-level packages that a successful command has imported."""
    program = (
        f"import sys; sys.argv = ['pomona', *{arguments!r}]\n"
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
    "arguments", [["status", "--max-age", "10m"], ["history"], ["quarantine", "--json"]]
)
def test_commands_do_not_import_spark(lake: Lake, arguments: list[str]) -> None:
    assert not imported_packages([*arguments, lake.root]) & (SLOW | {"boto3"})


@pytest.mark.spark
def test_damaged_table_error_is_one_line(lake: Lake, tmp_path: Path, pomona: Command) -> None:
    copy = Path(shutil.copytree(lake.root.removeprefix("file:"), tmp_path / "lake"))
    for file in copy.glob("features/*.parquet"):
        file.unlink()
    assert "not found" in pomona("status", copy).error_line
    assert pomona("status", copy, "--max-age", "3h").status == 0  # reads only the log
    shutil.rmtree(copy / "quarantine")
    assert pomona("quarantine", copy).error_line
    assert pomona("status", copy, "--max-age", "3h").error_line


@pytest.mark.spark
def test_backlog_does_not_import_spark(lake: Lake) -> None:
    assert not imported_packages(["status", lake.root]) & (SLOW - {"pandas"})


@pytest.mark.s3
def test_s3_lake_is_read_without_spark(spark: SparkSession, bucket: str, pomona: Command) -> None:
    lake = Lake.at(f"s3://{bucket}/lakes/My lake")
    create_tables(spark, lake, 1280)
    add_features(spark, lake, [image("a")], datetime.now(UTC) - timedelta(hours=2))
    assert not imported_packages(["status", lake.root, "--max-age", "10m"]) & SLOW
    done = pomona("status", lake.root, "--max-age", "row=1h")
    assert done.status == 3
    assert "the last row was" in done.err
    assert [row["total"] for row in pomona("history", lake.root, "--json").json] == [0, 1]
    assert pomona("quarantine", lake.root, "--json").json == []


@pytest.mark.long
@pytest.mark.spark
def test_refit_stays_fresh_after_rewriting_files(
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
