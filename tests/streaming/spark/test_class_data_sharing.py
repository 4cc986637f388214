"""Tests for `streaming.spark.class_data_sharing` and `streaming.ingest.warmup`.

Java maps its classes, and does as well without.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.ingest.warmup import run_warmup_stream
from streaming.lake.layout import Lake
from streaming.spark.class_data_sharing import archive_file, dumping_options, sharing_options
from streaming.spark.jars import jar_files
from streaming.spark.java import java_home
from support.lakes import below

START = "from streaming.spark.session import start_session; print(start_session().range(3).count())"


def test_another_java_or_other_jars_have_another_archive() -> None:
    java, jars = Path("/java"), [Path("/jars/a.jar"), Path("/jars/b.jar")]
    files = {
        archive_file(java, jars),
        archive_file(Path("/other"), jars),
        archive_file(java, jars[:1]),
    }
    assert len(files) == 3
    assert archive_file(java, jars) in files


def test_without_an_archive_nothing_is_asked_of_java(tmp_path: Path) -> None:
    archive = tmp_path / "My cache" / "classes.jsa"
    assert sharing_options(archive) == ""
    archive.parent.mkdir()
    archive.touch()
    assert f'"-XX:SharedArchiveFile={archive}"' in sharing_options(archive)
    assert f'"-XX:ArchiveClassesAtExit={archive}"' in dumping_options(archive)


@pytest.mark.spark
def test_the_rehearsal_runs_a_stream_twice_over_a_lake(spark: SparkSession, tmp_path: Path) -> None:
    run_warmup_stream(spark, tmp_path)
    lake = Lake.at(str(tmp_path / "lake"))
    assert below(tmp_path / "images", lake.features) == [f"label/{name}.jpg" for name in range(3)]


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("content", [None, b"not an archive"])
def test_spark_starts_in_silence_with_an_archive_that_does_not_fit(
    content: bytes | None, tmp_path: Path
) -> None:
    cache = tmp_path / "pomona"
    cache.mkdir()
    for folder in {jar_files()[0].parent, java_home()}:
        (cache / folder.name).symlink_to(folder)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("JAVA_HOME", None)
    find = "from streaming.spark.class_data_sharing import archive_file as f; from streaming.spark.jars import *; "
    command = [sys.executable, "-c", find + "print(f(java_home(), jar_files()))"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    archive = Path(told.stdout.strip())
    assert archive.parent == cache
    if content:
        archive.write_bytes(content)
    command = [sys.executable, "-c", START]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("3\n", 0)
    assert "cds" not in done.stderr.lower()
