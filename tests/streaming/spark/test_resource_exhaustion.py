"""Tests for `streaming.spark.resource_exhaustion`.

What has run out is named, and once there is more of it, all goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.errors import ExternalError
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from streaming.spark.resource_exhaustion import explain_exhaustion
from support.lakes import GARBAGE, ONCE, below, photos, put_all
from support.small_disk import small_disk

PHOTOS = photos("Fig", range(12))


def test_a_full_disk_is_named_by_the_folder_that_has_the_least_room(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")
    with small_disk(tmp_path / "lake" / "quarantine", 1) as disk:
        disk.fill(free_bytes=0)
        line = str(explain_exhaustion(full, f"file:{tmp_path}/lake"))
    assert f"the disk of {tmp_path}/lake/quarantine has 0 MB left; make room there" in line
    assert "rerun the same command to resume" in line
    assert "MB left" in str(explain_exhaustion(full, "s3a://bucket/lake"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("java.lang.OutOfMemoryError: Java heap space", "SPARK_DRIVER_MEMORY=4g or more"),
        ("System memory 1048576 must be at least 471859200", "Java's memory of 2g is too little"),
        ("Python worker exited unexpectedly (crashed)", "free memory on their machine"),
    ],
)
def test_memory_is_named_by_whose_it_is(
    monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.delenv("SPARK_DRIVER_MEMORY", raising=False)
    assert words in str(explain_exhaustion(RuntimeError(text)))


def test_anything_else_is_not_explained_away() -> None:
    assert explain_exhaustion(RuntimeError("Read timeout on endpoint URL")) is None


@pytest.mark.slow
def test_java_with_too_little_memory_to_start_is_told_how_to_get_more() -> None:
    program = (
        "from streaming.spark.session import start_session\n"
        "from streaming.spark.errors import translate_exception\n"
        "try: start_session()\n"
        "except Exception as error: print(translate_exception(error))"
    )
    env = os.environ | {"SPARK_DRIVER_MEMORY": "300m"}
    env.pop("PYSPARK_GATEWAY_PORT", None)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.startswith(
        "Java's memory of 300m is too little: set SPARK_DRIVER_MEMORY=600m"
    )


@pytest.mark.spark
@pytest.mark.parametrize("where", ["features", "checkpoints"])
def test_a_full_disk_ends_the_run_and_breaks_nothing(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path, where: str
) -> None:
    folder = new_lake()
    lake, source = Lake.at(str(folder)), tmp_path / "images"
    put_all(source, {**PHOTOS, "Fig/bad.jpg": GARBAGE})
    with small_disk(folder / where, 2) as disk:
        disk.fill(free_bytes=0)
        with pytest.raises(ExternalError) as told:
            ingest(str(source), lake.root, ONCE)
        assert f"the disk of {folder / where} has 0 MB left" in str(told.value)
        assert "\n" not in str(told.value)
        disk.empty()
        ingest(str(source), lake.root, ONCE)
        assert below(source, lake.features) == sorted(PHOTOS)
        assert below(source, lake.quarantine) == ["Fig/bad.jpg"]
        assert ingest(str(source), lake.root, ONCE).outcomes == {}
