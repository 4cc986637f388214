"""Tests for `streaming.spark.session`: a local session without set-up; a one-line error if it cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from pyspark.errors import ArithmeticException
from pyspark.sql import SparkSession

import streaming
from streaming.cache_dir import cache_folder
from streaming.errors import PlatformError
from streaming.spark import session
from streaming.spark.session import SessionSettings, check_package, start_session


def test_check_package_accepts_own_package() -> None:
    check_package()


def test_other_streaming_package_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = ModuleType("streaming")
    other.__file__ = str(tmp_path / "streaming" / "__init__.py")
    monkeypatch.setattr(session, "streaming", other)
    with pytest.raises(PlatformError) as caught:
        start_session()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "uninstall mosaicml-streaming" in str(caught.value)


@pytest.mark.slow
def test_failing_java_is_reported_in_one_line(tmp_path: Path) -> None:
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        '#!/bin/bash\n[ "$1" = -version ] && echo \'openjdk version "21"\' >&2\nexit 1\n'
    )
    java.chmod(0o755)
    (tmp_path / "cache" / "pomona").mkdir(parents=True)
    program = (
        "from streaming.spark import session\n"
        "session.jar_files = lambda: []\n"
        "try:\n    session.start_session()\n"
        "except session.PlatformError as error:\n    print(error)\n"
    )
    variables = {"JAVA_HOME": str(tmp_path / "java"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    lines = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        cwd=Path(streaming.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Spark did not start")
    assert "JAVA_HOME" in lines[0]


@pytest.mark.spark
def test_active_session_is_returned(spark: SparkSession) -> None:
    assert start_session(s3=True) is spark


@pytest.mark.spark
def test_cluster_session_keeps_its_java_and_memory(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")  # as spark-submit sets it
    for name in ("java_home", "jar_files"):
        monkeypatch.setattr(session, name, lambda: pytest.fail("not used on a cluster"))
    memory = spark.conf.get("spark.driver.memory")
    assert start_session(SessionSettings(driver_memory="3g")) is spark
    assert spark.conf.get("spark.driver.memory") == memory


@pytest.mark.spark
def test_java_ignores_the_signals_of_a_terminal(spark: SparkSession) -> None:
    """Otherwise Ctrl-\\ would print the stacks of all threads, and a closed terminal would end Spark in a commit."""
    java = spark.sparkContext._jvm.java.lang.ProcessHandle.current().pid()  # type: ignore[union-attr]
    status = dict(
        line.split(":\t") for line in Path(f"/proc/{java}/status").read_text().splitlines()
    )
    ignored = int(status["SigIgn"], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        assert ignored >> number - 1 & 1, number.name


@pytest.mark.spark
def test_session_uses_utc_and_ansi_mode(spark: SparkSession) -> None:
    row = spark.sql("SELECT timestamp_millis(0) = timestamp'1970-01-01 00:00:00' AS utc").first()
    assert row is not None
    assert row.utc
    with pytest.raises(ArithmeticException):
        spark.sql("SELECT 2147483647 + 1").collect()


@pytest.mark.spark
def test_workers_run_same_python_and_package(spark: SparkSession) -> None:
    def describe(_: object) -> tuple[str, str]:
        import sys

        import streaming

        return sys.executable, str(streaming.__file__)

    found = spark.sparkContext.parallelize([0], 1).map(describe).collect()
    assert found == [(sys.executable, str(streaming.__file__))]


@pytest.mark.spark
def test_sql_and_rdd_tasks_share_workers(spark: SparkSession) -> None:
    def daemon_of_sql(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import os

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"daemon": [os.getppid()]})

    def daemon_of_rdd(_: object) -> int:
        import os

        return os.getppid()

    rows = spark.range(0, 1, 1, 1).mapInArrow(daemon_of_sql, "daemon long").collect()
    daemons = spark.sparkContext.parallelize([0], 1).map(daemon_of_rdd).collect()
    assert [row.daemon for row in rows] == daemons


@pytest.mark.spark
def test_delta_table_is_written_and_read(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(3).write.format("delta").save(str(tmp_path / "table"))
    assert spark.sql(f"SELECT count(*) AS n FROM delta.`{tmp_path}/table`").first() == (3,)


@pytest.mark.parametrize(
    ("variable", "name", "letter"),
    [
        ("XDG_CACHE_HOME", "a:b", ":"),
        ("XDG_CACHE_HOME", "a\N{PEACH}b", "\N{PEACH}"),
        ("TMPDIR", 'a"b', '"'),
        ("TMPDIR", "a,b", ","),
        ("TMPDIR", "a\\b", "\\"),
        ("TMPDIR", "a\N{PEACH}b", "\N{PEACH}"),
    ],
)
def test_folder_that_java_cannot_use_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, name: str, letter: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setenv(variable, str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(PlatformError) as caught:
        session._check_folders()
    assert str(caught.value).startswith(f"{folder}/")
    assert str(caught.value).endswith(
        f"Spark cannot use a folder with {letter} in its path: set {variable} to another folder"
    )


@pytest.mark.spark
@pytest.mark.long
def test_folders_with_special_characters_are_used(tmp_path: Path) -> None:
    folders = {name: tmp_path / f"{name} café 100% #'$" for name in ("XDG_CACHE_HOME", "TMPDIR")}
    for folder in folders.values():
        folder.mkdir()
    (folders["XDG_CACHE_HOME"] / "pomona").symlink_to(cache_folder())
    program = (
        "from streaming.spark.session import start_session\n"
        "spark = start_session()\n"
        "spark.sql('SHOW TABLES').count()\n"
        "print(spark.range(3).repartition(2).rdd.map(lambda row: row.id).sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {name: str(folder) for name, folder in folders.items()},
        cwd=Path(streaming.__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "3\n", done.stderr
    assert sorted(tmp_path.iterdir()) == sorted(folders.values())
