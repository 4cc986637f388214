"""Tests for `streaming.signals`: Ctrl-C stops an ingestion after the commit in progress; SIGTERM: test_pipeline.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pomona.demo.images import write_samples
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from streaming.storage.interface import local_path
from support.lakes.small_lakes import ONCE, photos, put_all, rows, versions

pytestmark = pytest.mark.end_to_end

BATCH_SIZE = 6  # images per micro-batch
PROGRAM = f"""
import sys
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings

def on_batch(result, summary):
    print(result.written, flush=True)

settings = IngestSettings(trigger=0.5, settle=0, max_files_per_trigger={BATCH_SIZE})
print(ingest(sys.argv[1], sys.argv[2], settings, on_batch).outcomes["features"])
"""


class IngestProcess:
    """An ingestion in its own process group, as if a shell had started it."""

    def __init__(self, source: Path, lake: Lake, folder: Path) -> None:
        self._errors = folder / "stderr"
        with self._errors.open("w") as errors:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(source), lake.root],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                start_new_session=True,
            )

    def read_line(self) -> str:
        """Wait for the next line of output: the number of images in a committed micro-batch."""
        assert self._popen.stdout
        return self._popen.stdout.readline().strip() or self._errors.read_text()

    def press_ctrl_c(self) -> None:
        """Send SIGINT to the whole process group, Java and the workers included, as a terminal does."""
        os.killpg(self._popen.pid, signal.SIGINT)

    def wait(self) -> tuple[int, str, str]:
        """Wait for the end; return the exit status, the remaining output and the errors."""
        output, _ = self._popen.communicate(timeout=120)
        return self._popen.returncode, output, self._errors.read_text()


def finished_batches(lake: Lake) -> int:
    """Return the number of micro-batches that the checkpoint records as committed."""
    folder = local_path(lake.for_manifests().checkpoint) / "commits"
    return sum(file.name.isdigit() for file in folder.iterdir())


def error_lines(errors: str) -> list[str]:
    """Return the lines that report errors; Java and Spark also print notices when they start."""
    markers = ("Traceback", "Error", "Exception", "StopRequested", "Interrupt", "\tat ")
    return [line for line in errors.splitlines() if any(marker in line for marker in markers)]


@pytest.mark.long
def test_signal_stops_run_after_micro_batch_and_next_run_resumes(
    new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    source, lake = tmp_path / "images", Lake.at(str(new_lake()))
    total = write_samples(source, per_label=3) + len(put_all(source, photos("Fig", range(3))))
    old = time.time() - 60
    for file in source.rglob("*.*"):
        os.utime(file, (old, old))

    first = IngestProcess(source, lake, tmp_path)
    assert first.read_line() == str(BATCH_SIZE)
    time.sleep(0.7)  # the second micro-batch is under way
    first.press_ctrl_c()
    status, output, errors = first.wait()
    assert (status, error_lines(errors)) == (0, [])
    ingested = len(rows(lake.features))
    assert ingested == BATCH_SIZE * finished_batches(lake) < total
    assert output.split()[-1] == str(ingested)

    assert ingest(str(source), lake.root, ONCE).outcomes == {"features": total - ingested}
    assert len({row["path"] for row in rows(lake.features)}) == len(rows(lake.features)) == total

    before = versions(lake)
    assert not ingest(str(source), lake.root, ONCE).outcomes
    assert versions(lake) == before
