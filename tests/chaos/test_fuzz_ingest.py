"""Tests for 5,000 damaged images: each is in exactly one table, and no worker exceeds the memory limit."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from streaming.lake.layout import Lake
from support.images.image_files import scan_bomb
from support.images.mutated_images import mutated_images
from support.lakes.small_lakes import below, put, rows
from support.processes.cli import PROGRAM, environment
from support.processes.worker_processes import worker_peak_memory

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(3600)]

COUNT = int(os.environ.get("POMONA_FUZZ", "5000"))
HANGING = 2
# The base memory of a worker, and 48 bytes per pixel of the largest image that decodes.
MAX_MEGABYTES = 260 + 128 + 48 * 10


def record_peaks(running: subprocess.Popen[str], peaks: dict[int, int]) -> None:
    """Record the peak memory of each worker and its child processes while the command runs."""
    while running.poll() is None:
        for worker, peak in worker_peak_memory(running.pid).items():
            peaks[worker] = max(peak, peaks.get(worker, 0))
        threading.Event().wait(0.2)


def test_every_damaged_image_is_in_one_table(new_lake: Callable[[], Path], tmp_path: Path) -> None:
    source, lake = tmp_path / "images", Lake.at(str(new_lake()))
    names = []
    for name, content in mutated_images(2, COUNT):
        put(source / name, content)
        names.append(name)
    for number in range(HANGING):
        names.append(f"hang/{number}.jpg")
        put(
            source / names[-1], scan_bomb(2048, 20_000 + number)
        )  # a minute of the processor's time
    options = ["--once", "--max-failure-rate", "1", "--max-pixels", "10000000"]
    peaks: dict[int, int] = {}
    running = subprocess.Popen(
        [PROGRAM, "ingest", source, lake.root, *options, "--max-cpu-seconds", "10"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watching = threading.Thread(target=record_peaks, args=(running, peaks))
    watching.start()
    output, errors = running.communicate()
    watching.join()
    assert running.returncode == 0, errors

    good, bad = below(source, lake.features), below(source, lake.quarantine)
    assert sorted(good + bad) == sorted(names)
    reasons = Counter(row["reason"] for row in rows(lake.quarantine))
    print(f"{len(names)} images: {len(good)} decode; {dict(reasons)}")
    print(f"memory of {len(peaks)} processes: {max(peaks.values()) / 2**20:.0f} MB at most")
    print(output)
    crashed = [row["path"] for row in rows(lake.quarantine) if row["reason"] == "crashed_worker"]
    assert len(crashed) == HANGING
    assert all("/hang/" in path for path in crashed)
    assert max(peaks.values()) < MAX_MEGABYTES * 2**20
