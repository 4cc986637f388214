"""Tests for `streaming.spark.resource_exhaustion`.

The exhausted resource is reported with the remedy, and the next run resumes.
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
from support.faults.small_disk import small_disk
from support.lakes.small_lakes import GARBAGE, ONCE, below, photos, put_all

PHOTOS = photos("Fig", range(12))


def test_full_disk_is_reported_by_its_folder(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")
    with small_disk(tmp_path / "lake" / "quarantine", 1) as disk:
        disk.fill(free_bytes=0)
        line = str(explain_exhaustion(full, f"file:{tmp_path}/lake"))
    assert f"the disk of {tmp_path}/lake/quarantine has 0 MB left; free some space" in line
    assert "rerun the same command to resume" in line
    assert "MB left" in str(explain_exhaustion(full, "s3a://bucket/lake"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("java.lang.OutOfMemoryError: Java heap space", "SPARK_DRIVER_MEMORY=4g or more"),
        ("System memory 1048576 must be at least 471859200", "Java's memory of 2g is not enough"),
        ("Python worker exited unexpectedly (crashed)", "free memory on their machine"),
    ],
)
def test_exhausted_memory_is_attributed_to_java_or_workers(
    monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.delenv("SPARK_DRIVER_MEMORY", raising=False)
    assert message in str(explain_exhaustion(RuntimeError(text)))


def test_other_error_is_not_explained() -> None:
    assert explain_exhaustion(RuntimeError("Read timeout on endpoint URL")) is None


@pytest.mark.slow
def test_java_without_enough_memory_to_start_is_reported_with_remedy() -> None:
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
        "Java's memory of 300m is not enough: set SPARK_DRIVER_MEMORY=600m"
    )


@pytest.mark.spark
@pytest.mark.parametrize("folder", ["features", "checkpoints"])
def test_full_disk_ends_run_and_next_run_resumes(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path, folder: str
) -> None:
    root = new_lake()
    lake, source = Lake.at(str(root)), tmp_path / "images"
    put_all(source, {**PHOTOS, "Fig/bad.jpg": GARBAGE})
    with small_disk(root / folder, 2) as disk:
        disk.fill(free_bytes=0)
        with pytest.raises(ExternalError) as caught:
            ingest(str(source), lake.root, ONCE)
        assert f"the disk of {root / folder} has 0 MB left" in str(caught.value)
        assert "\n" not in str(caught.value)
        disk.empty()
        ingest(str(source), lake.root, ONCE)
        assert below(source, lake.features) == sorted(PHOTOS)
        assert below(source, lake.quarantine) == ["Fig/bad.jpg"]
        assert ingest(str(source), lake.root, ONCE).outcomes == {}
