"""Tests for a full disk and a JVM out of memory: a one-line error, a consistent lake, and the next run resumes."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pomona.demo.images import write_samples
from streaming.errors import ExternalError
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from support.faults.small_disk import small_disk
from support.lakes.small_lakes import GARBAGE, ONCE, below, photos, put_all
from support.processes.cli import PROGRAM, CommandResult, environment, program

pytestmark = [pytest.mark.timeout(3600)]

PHOTOS = photos("Fig", range(60))
# Free bytes by folder: enough for nothing, for a part of the first commit, or for some commits.
FREE_BYTES = {
    "": [0, 40_000, 120_000, 250_000, 400_000, 600_000],
    "features": [0, 20_000, 80_000, 200_000],
    "quarantine": [0, 8_000, 30_000],
    "checkpoints": [0, 4_096, 8_192, 16_384, 32_768, 65_536],
}
CASES = [(folder, size) for folder, sizes in FREE_BYTES.items() for size in sizes]


@pytest.mark.spark
@pytest.mark.parametrize(("folder", "free_bytes"), CASES)
def test_disk_full_during_ingest(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path, folder: str, free_bytes: int
) -> None:
    root = new_lake()
    lake, source = Lake.at(str(root)), tmp_path / "images"
    put_all(source, PHOTOS | {f"Fig/bad{number}.jpg": GARBAGE for number in range(6)})
    settings = dataclasses.replace(ONCE, max_files_per_trigger=11)
    with small_disk(root / folder if folder else root, 32) as disk:
        disk.fill(free_bytes=free_bytes)
        message = ""
        try:
            ingest(str(source), lake.root, settings)
        except ExternalError as error:
            message = str(error)
        print(f"{folder or 'lake'}, {free_bytes:,} bytes left: {message or 'enough'}")
        assert not message or f"the disk of {disk.folder}" in message
        disk.empty()
        ingest(str(source), lake.root, settings)
        assert below(source, lake.features) == sorted(PHOTOS)
        assert below(source, lake.quarantine) == [f"Fig/bad{number}.jpg" for number in range(6)]
        assert ingest(str(source), lake.root, settings).outcomes == {}


@pytest.mark.end_to_end
def test_full_disk_is_reported_in_one_line(new_lake: Callable[[], Path], tmp_path: Path) -> None:
    folder, source = new_lake(), tmp_path / "images"
    put_all(source, PHOTOS)
    assert program("ingest", source, folder, "--once", "--settle", "0").status == 0
    put_all(source, photos("Plum", range(60)))
    with small_disk(folder / "features", 32) as disk:
        disk.fill(free_bytes=50_000)
        done = program("ingest", source, folder, "--once", "--settle", "0")
        assert done.status == 1
        (line,) = done.err.splitlines()
        assert line.startswith(f"pomona: No space left on device: the disk of {disk.folder}")


@pytest.mark.end_to_end
@pytest.mark.parametrize("megabytes", [64, 80, 100, 120])
def test_java_out_of_memory_is_reported_and_next_run_resumes(
    new_lake: Callable[[], Path], tmp_path: Path, megabytes: int
) -> None:
    """Spark requires 450 MB to start; `spark.testing.memory` disables this check."""
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    count = write_samples(source, per_label=10)
    unchecked = (
        "from pomona.cli import main\nfrom streaming.spark import session\n"
        "session._LOCAL['spark.testing.memory'] = '500000000'\nmain()"
    )
    memory = f"{megabytes}m"
    started = time.monotonic()
    first = subprocess.run(
        [sys.executable, "-c", unchecked, "ingest", source, lake.root, "--once", "--settle", "0"],
        env=environment(SPARK_DRIVER_MEMORY=memory),
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{memory}, {time.monotonic() - started:.0f} s: exit {first.returncode}; {first.stderr}")
    if first.returncode:
        error_line = first.stderr.splitlines()[-1]
        assert error_line.startswith(f"pomona: Java's memory of {memory} is not enough")
        assert f"SPARK_DRIVER_MEMORY={2 * megabytes}m" in error_line
    second: CommandResult = program("ingest", source, lake.root, "--once", "--settle", "0")
    assert second.status == 0, second.err
    names = below(source, lake.features)
    assert len(names) == len(set(names)) == count


@pytest.mark.end_to_end
def test_killed_java_is_reported_and_next_run_resumes(
    new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    put_all(source, PHOTOS)
    running = subprocess.Popen(
        [PROGRAM, "ingest", source, lake.root, "--trigger", "1"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout
    assert "micro-batch 0" in running.stdout.readline()
    (java,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(java), signal.SIGKILL)
    _, errors = running.communicate(timeout=100)
    assert running.returncode == 1
    assert errors.splitlines()[-1].startswith("pomona: Java was killed, possibly by the kernel")
    print(errors)
    put_all(source, {"Plum/1.jpg": next(iter(PHOTOS.values()))})
    assert program("ingest", source, lake.root, "--once").status == 0
    assert below(source, lake.features) == sorted([*PHOTOS, "Plum/1.jpg"])
