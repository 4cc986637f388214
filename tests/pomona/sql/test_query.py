"""Tests for `pomona query`: results compared with delta-rs, as a table, CSV and JSON; the lake is not changed."""

from __future__ import annotations

import csv
import io
import math
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet
import pytest
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from pomona.sql.deadline import limit_time
from pomona.sql.query import run_query
from streaming.errors import UsageError
from support.lakes.deltars_lakes import create_deltars_lake, random_images
from support.lakes.feature_lakes import LABELS, WRITTEN, delta
from support.lakes.query_lakes import QueryLake
from support.processes.cli import PROGRAM, Command, environment, needs_program, program, slowness

pytestmark = pytest.mark.spark


@pytest.fixture
def pomona(
    query_lake: QueryLake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


def test_row_counts_match_delta_rs(pomona: Command, query_lake: QueryLake) -> None:
    by_label = "SELECT label, count(*) AS images FROM features{} GROUP BY label"
    for version, clause in ((None, ""), (2, " VERSION AS OF 2")):
        rows = pomona("query", query_lake.folder, by_label.format(clause), "--json").json
        labels = delta(query_lake.lake.features, version).to_pyarrow_table(columns=["label"])
        assert {row["label"]: row["images"] for row in rows} == Counter(labels["label"].to_pylist())


@pytest.mark.parametrize(
    "relation",
    [
        "features TIMESTAMP AS OF '2026-01-01'",
        "refits FOR SYSTEM_TIME AS OF current_timestamp()",
        "(SELECT * FROM features VERSION AS OF 2) UNION ALL SELECT * FROM features TIMESTAMP AS OF date '2026-01-01'",
    ],
)
def test_timestamp_as_of_is_rejected_with_remedy(
    pomona: Command, query_lake: QueryLake, relation: str
) -> None:
    done = pomona("query", query_lake.folder, f"SELECT * FROM {relation}")
    assert done.status == 2
    assert "use --as-of TIMESTAMP, or VERSION AS OF" in done.error_line


@pytest.mark.long
def test_as_of_applies_to_all_tables(pomona: Command, query_lake: QueryLake) -> None:
    """The first refit was created at version 2 of the features, the second at version 3."""
    sql = (
        "SELECT (SELECT count(*) FROM features) AS features, (SELECT count(*) FROM quarantine) AS bad, "
        "(SELECT max(refit_id) FROM refits) AS refit, (SELECT count(*) FROM reduced) AS reduced"
    )
    one, two = query_lake.refits
    at = one.features_timestamp.isoformat()
    for as_of, refit, reduced in ((2, one, 40), (at, None, 0), (3, two, 100), ("latest", two, 100)):
        done = pomona("query", query_lake.folder, sql, "--as-of", as_of, "--json")
        rows = (
            delta(query_lake.lake.features, 2 if reduced < 100 else 3).to_pyarrow_table().num_rows
        )
        expected = {"features": rows, "bad": 0, "refit": refit and refit.refit_id}
        assert done.json == [expected | {"reduced": reduced}], as_of
        assert done.err.startswith("as of  ")
    assert (
        pomona("query", query_lake.folder, sql, "--as-of", "1", "--json").json[0]["features"] == 0
    )
    assert "as of  version 2" in pomona("query", query_lake.folder, sql, "--as-of", 2).out
    for version in ("VERSION AS OF 1", "TIMESTAMP AS OF '2026-01-01'"):
        text = f"SELECT 1 FROM features {version}"
        rejected = pomona("query", query_lake.folder, text, "--as-of", 2)
        assert rejected.status == 2
        assert "--as-of and a version in the query cannot be combined" in rejected.err
    assert "no version 9" in pomona("query", query_lake.folder, sql, "--as-of", 9).error_line


def test_paths_are_printed_as_stored_and_an_expression_converts_them(
    pomona: Command, query_lake: QueryLake
) -> None:
    sql = "SELECT path, regexp_replace(path, '^file:', '') AS file FROM features"
    rows = pomona("query", query_lake.folder, sql, "--json").json
    stored = delta(query_lake.lake.features).to_pyarrow_table()["path"].to_pylist()
    assert sorted(row["path"] for row in rows) == sorted(stored)
    assert all(row["path"].startswith("file:/") for row in rows)
    assert all(row["file"] == row["path"].removeprefix("file:") for row in rows)


def test_reduced_joins_with_refits(pomona: Command, query_lake: QueryLake) -> None:
    sql = (
        "SELECT refit_id, size(reduced) AS k, count(*) AS n, sum(reduced[0]) AS total, components "
        "FROM reduced JOIN refits USING (refit_id) GROUP BY ALL ORDER BY k"
    )
    rows = pomona("query", query_lake.folder, sql, "--json").json
    assert [row["refit_id"] for row in rows] == [refit.refit_id for refit in query_lake.refits]
    for row, refit in zip(rows, query_lake.refits, strict=True):
        expected = pyarrow.parquet.read_table(refit.folder.parquet.removeprefix("file:"))
        scores = [values[0] for values in expected["reduced"].to_pylist()]
        assert (row["n"], row["k"]) == (len(scores), refit.components)
        assert row["components"] == row["k"]
        assert row["total"] == pytest.approx(sum(scores), abs=1e-9)


def test_refit_with_deleted_folder_has_no_reduced_rows(
    pomona: Command, query_lake: QueryLake, tmp_path: Path
) -> None:
    lake = shutil.copytree(query_lake.folder, tmp_path / "lake")
    shutil.rmtree(lake / "reduced" / query_lake.refits[0].refit_id)
    done = pomona("query", lake, "SELECT DISTINCT refit_id FROM reduced", "--json")
    assert done.json == [{"refit_id": query_lake.refits[1].refit_id}]


def test_table_prints_text_literally_and_truncates_long_cells(
    pomona: Command, query_lake: QueryLake
) -> None:
    sql = "SELECT label AS `[b]`, features FROM features ORDER BY label LIMIT 3"
    lines = pomona("query", query_lake.folder, sql).out.splitlines()
    assert lines[0].split() == ["[b]", "features"]
    assert len(lines) == 4
    assert all(line.startswith("Ananas") and line.rstrip().endswith("…") for line in lines[1:])
    assert all(len(line) < 100 for line in lines)


def test_table_reports_that_rows_are_not_shown(pomona: Command, query_lake: QueryLake) -> None:
    lines = pomona("query", query_lake.folder, "SELECT * FROM range(101)").out.splitlines()
    assert lines[-2:] == ["99", "… first 100 rows only: --csv and --json print all rows"]
    assert (
        len(pomona("query", query_lake.folder, "SELECT * FROM range(100)").out.splitlines()) == 101
    )


def test_csv_has_all_rows_and_escapes_formulas(pomona: Command, query_lake: QueryLake) -> None:
    sql = "SELECT path, label, -length AS less, ingested_at, features FROM features ORDER BY path"
    rows = list(csv.DictReader(io.StringIO(pomona("query", query_lake.folder, sql, "--csv").out)))
    assert [row["path"] for row in rows] == sorted(query_lake.first.paths + query_lake.second.paths)
    assert {row["label"] for row in rows} == set(LABELS)
    assert {row["less"] for row in rows} == {"-4711"}
    assert {datetime.fromisoformat(f"{row['ingested_at']}Z") for row in rows} == {WRITTEN}
    sql = "SELECT '=cmd()' AS a, -1.5 AS a, CAST(NULL AS INT) AS c, array('x', null) AS d"
    assert pomona("query", query_lake.folder, sql, "--csv").out == (
        'a,a,c,d\n\'=cmd(),-1.5,,"[""x"",null]"\n'
    )


def test_json_keeps_types_and_nulls(pomona: Command, query_lake: QueryLake) -> None:
    sql = "SELECT 1 AS a, NULL AS b, array(1.5D) AS c, true AS d, TIMESTAMP '2026-03-03 08:30:00' AS t"
    (row,) = pomona("query", query_lake.folder, sql, "--json").json
    at = datetime.fromisoformat(row.pop("t"))
    assert (row, at) == ({"a": 1, "b": None, "c": [1.5], "d": True}, WRITTEN)
    assert pomona("query", query_lake.folder, "SELECT 1 WHERE false", "--json").json == []
    done = pomona("query", query_lake.folder, "SELECT 1 AS a, 2 AS a", "--json")
    assert done.status == 2
    assert "duplicate column name a" in done.error_line


@pytest.mark.parametrize(
    ("sql", "status", "message"),
    [
        ("DROP TABLE features", 2, "DropTable is not allowed"),
        ("SELECT * FROM text.`/etc/hosts`", 2, "the table text./etc/hosts"),
        ("SELECT nonsense FROM features", 2, "nonsense"),
        ("SELECT 1 FROM features VERSION AS OF 99", 2, "99"),
        # Spark reports this in two lines, followed by a plan.
        ("SELECT CAST(label AS INT) FROM features", 1, "CAST_INVALID_INPUT"),
    ],
)
def test_error_is_one_line(
    pomona: Command, query_lake: QueryLake, sql: str, status: int, message: str
) -> None:
    done = pomona("query", query_lake.folder, sql)
    assert done.status == status
    assert message in done.error_line


def test_missing_table_is_an_error(tmp_path: Path, pomona: Command) -> None:
    create_deltars_lake(tmp_path / "plain", random_images(3, 8))
    for options in ((), ("--as-of", "0")):
        failed = pomona("query", tmp_path / "plain", "SELECT * FROM refits", *options)
        assert failed.status == 1
        assert "plain has no table refits: `pomona refit` creates it" in failed.err
    done = pomona("query", tmp_path / "plain", "SELECT count(*) AS n FROM reduced", "--json")
    assert done.json == [{"n": 0}]


def test_query_does_not_change_the_lake_or_the_catalog(
    pomona: Command, query_lake: QueryLake, spark: SparkSession, tmp_path: Path
) -> None:
    before = query_lake.tree()
    for table in ("features", "quarantine", "refits", "reduced"):
        assert pomona("query", query_lake.folder, f"SELECT count(*) FROM {table}").status == 0
    assert query_lake.tree() == before
    assert list(tmp_path.iterdir()) == []
    names = {row.namespace for row in spark.sql("SHOW DATABASES").collect()}
    assert names == {"default"}


def test_csv_and_json_exclude_each_other(pomona: Command, query_lake: QueryLake) -> None:
    done = pomona("query", query_lake.folder, "SELECT 1", "--csv", "--json")
    assert done.status == 2
    assert "--csv and --json cannot be combined" in done.error_line


ENDLESS = "SELECT count(*) FROM range(100000000000) a CROSS JOIN range(100000000000) b"


def test_timeout_cancels_jobs_and_spark_continues(pomona: Command, query_lake: QueryLake) -> None:
    for options in ((), ("--json",), ("--csv",)):
        started = time.monotonic()
        done = pomona("query", query_lake.folder, ENDLESS, "--timeout", "1s", *options)
        assert (done.status, time.monotonic() - started < 20 * slowness()) == (1, True)
        assert done.err.splitlines() == [
            "pomona: query: canceled after 1 s: select less, or give more time with --timeout"
        ]
    assert pomona("query", query_lake.folder, "SELECT 1 AS n", "--json").json == [{"n": 1}]
    done = pomona("query", query_lake.folder, "SELECT 1", "--timeout", "5")
    assert (done.status, "--timeout 5: give a number and a unit" in done.error_line) == (2, True)


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan, 1e20, "5", None])
def test_timeout_that_is_no_number_of_seconds_is_rejected(
    query_lake: QueryLake, timeout: Any
) -> None:
    with (
        pytest.raises(UsageError, match=r"timeout.*give a number"),
        run_query(str(query_lake.folder), "SELECT 1", timeout=timeout),
    ):
        pass


def test_call_that_cannot_be_canceled_is_abandoned(spark: SparkSession) -> None:
    """Spark computes constants on the driver, in a call that ignores the cancellation of jobs."""
    started = time.monotonic()
    with limit_time(spark, 0.2) as deadline, pytest.raises(Py4JError):
        spark._jvm.java.lang.Thread.sleep(60_000)
    assert deadline.is_over
    assert time.monotonic() - started < 10 * slowness()
    assert spark.range(3).count() == 3


def test_thread_has_its_job_group_again_after_a_query(spark: SparkSession) -> None:
    context = spark.sparkContext
    try:
        context.setJobGroup("nightly", "nightly report")
        with limit_time(spark, 60):
            assert spark.range(3).count() == 3
            assert context.getLocalProperty("spark.jobGroup.id") != "nightly"
        group = [
            context.getLocalProperty(f"spark.job{key}") for key in ("Group.id", ".description")
        ]
        assert group == ["nightly", "nightly report"]
    finally:
        for key in ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel"):
            context.setLocalProperty(key, None)  # type: ignore[arg-type]


def test_table_of_many_rows_computes_only_the_first(pomona: Command, query_lake: QueryLake) -> None:
    done = pomona("query", query_lake.folder, "SELECT * FROM range(100000000000)")
    assert (done.status, len(done.out.splitlines())) == (0, 102)


def test_deeply_nested_query_is_one_line(pomona: Command, query_lake: QueryLake) -> None:
    done = pomona("query", query_lake.folder, f"SELECT {'(' * 3000}1{')' * 3000}")
    assert (done.status, "nested too deeply" in done.error_line) == (2, True)


@pytest.mark.long
@needs_program
@pytest.mark.end_to_end
def test_exhausted_memory_of_java_is_one_line(query_lake: QueryLake) -> None:
    done = program("query", query_lake.folder, "SELECT repeat('a', 2000000000)")
    java, line = done.err.splitlines()
    assert (done.status, done.out) == (1, "")
    assert java.startswith("Terminating due to java.lang.OutOfMemoryError")
    assert "Java's memory of 2g is not enough: set SPARK_DRIVER_MEMORY=4g or more" in line


@pytest.mark.long
@needs_program
@pytest.mark.end_to_end
def test_interrupted_query_ends_at_once(query_lake: QueryLake) -> None:
    command = [PROGRAM, "query", query_lake.folder, ENDLESS]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        java = wait_for_java_with_task(running.pid)
        started = time.monotonic()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
        assert (running.returncode, out, err) == (130, "", "")
        assert time.monotonic() - started < 3 * slowness()
    psutil.wait_procs([java], 30)
    assert not java.is_running()


def is_computing(thread: Any) -> bool:
    with suppress(OSError):
        is_task = Path(f"/proc/{thread.id}/comm").read_text().startswith("Executor task")
        return is_task and thread.user_time > 2
    return False


def wait_for_java_with_task(pid: int) -> psutil.Process:
    """Return the Java below a process once a thread of its executor has computed for two seconds."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.name() == "java" and any(map(is_computing, child.threads())):
                    return child
        time.sleep(0.2)
    raise AssertionError("no Java with a task")
