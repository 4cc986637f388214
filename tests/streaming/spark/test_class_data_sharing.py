"""Tests for `streaming.spark.class_data_sharing` and `streaming.ingest.warmup`.

Spark starts with a matching archive and with an invalid one; without one, it gets no option.
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
from support.lakes.small_lakes import below

START = "from streaming.spark.session import start_session; print(start_session().range(3).count())"


def test_archive_path_depends_on_java_and_jars(tmp_path: Path) -> None:
    java, jars = Path("/java"), [tmp_path / "a.jar", tmp_path / "b.jar"]
    for jar in jars:
        jar.write_bytes(b"1")
    archives = [
        archive_file(java, jars),
        archive_file(Path("/other"), jars),
        archive_file(java, jars[:1]),
    ]
    assert archive_file(java, jars) == archives[0]
    # Java does not use the archive for jars that were installed again.
    jars[1].write_bytes(b"22")
    archives.append(archive_file(java, jars))
    os.utime(jars[1], (1_000_000_000, 1_000_000_000))
    archives.append(archive_file(java, jars))
    assert len(set(archives)) == 5


def test_sharing_options_are_empty_without_archive(tmp_path: Path) -> None:
    archive = tmp_path / "My cache" / "classes.jsa"
    assert sharing_options(archive) == ""
    archive.parent.mkdir()
    archive.touch()
    assert f'"-XX:SharedArchiveFile={archive}"' in sharing_options(archive)
    assert f'"-XX:ArchiveClassesAtExit={archive}"' in dumping_options(archive)


@pytest.mark.spark
def test_warmup_stream_ingests_new_and_replaced_images(spark: SparkSession, tmp_path: Path) -> None:
    run_warmup_stream(spark, tmp_path)
    lake = Lake.at(str(tmp_path / "lake"))
    assert below(tmp_path / "images", lake.features) == [f"label/{name}.jpg" for name in range(3)]


@pytest.mark.slow
@pytest.mark.spark
def test_invalid_archive_starts_spark_without_warning(tmp_path: Path) -> None:
    cache = tmp_path / "pomona"
    cache.mkdir()
    for folder in {jar_files()[0].parent, java_home()}:
        (cache / folder.name).symlink_to(folder)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("JAVA_HOME", None)
    find = "from streaming.spark.class_data_sharing import archive_file as f; from streaming.spark.jars import *; "
    command = [sys.executable, "-c", find + "print(f(java_home(), jar_files()))"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    archive = Path(found.stdout.strip())
    assert archive.parent == cache
    archive.write_bytes(b"not an archive")
    command = [sys.executable, "-c", START]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("3\n", 0)
    assert "cds" not in done.stderr.lower()
