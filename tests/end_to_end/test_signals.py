"""Tests for `streaming.signals`: Ctrl-C and SIGTERM end an ingestion after the micro-batch under way, in order."""

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
from support.lakes import ONCE, photos, put_all, rows, versions

pytestmark = pytest.mark.end_to_end

SIZE = 6  # images a micro-batch
PROGRAM = f"""
import sys
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings

def watch(result, summary):
    print(result.written, flush=True)

settings = IngestSettings(trigger=0.5, settle=0, max_files_per_trigger={SIZE})
print(ingest(sys.argv[1], sys.argv[2], settings, watch).outcomes["features"])
"""


class Process:
    """An ingestion in a process group of its own, as a shell starts one."""

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

    def line(self) -> str:
        """The next line that it prints: a micro-batch has been written."""
        assert self._popen.stdout
        return self._popen.stdout.readline().strip() or self._errors.read_text()

    def press_ctrl_c(self) -> None:
        """A terminal sends the signal to the whole group: Java and the workers get it too."""
        os.killpg(self._popen.pid, signal.SIGINT)

    def terminate(self) -> None:
        """As a service manager does."""
        self._popen.send_signal(signal.SIGTERM)

    def end(self) -> tuple[int, str, str]:
        """Exit status, the rest of what it printed, and what it complained of."""
        output, _ = self._popen.communicate(timeout=120)
        return self._popen.returncode, output, self._errors.read_text()


def finished_batches(lake: Lake) -> int:
    """Micro-batches that Spark has noted as done."""
    folder = Path(lake.checkpoint.removeprefix("file:"), "commits")
    return sum(file.name.isdigit() for file in folder.iterdir())


def complaints(errors: str) -> list[str]:
    """What is more than a remark of Java's or Spark's on its start."""
    words = ("Traceback", "Error", "Exception", "_Stopped", "Interrupt", "\tat ")
    return [line for line in errors.splitlines() if any(word in line for word in words)]


def test_signals_end_it_in_order_and_the_next_run_goes_on(
    new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    source, lake = tmp_path / "images", Lake.at(str(new_lake()))
    total = write_samples(source, per_label=3) + len(put_all(source, photos("Fig", range(3))))
    old = time.time() - 60
    for file in source.rglob("*.*"):
        os.utime(file, (old, old))

    first = Process(source, lake, tmp_path)
    assert first.line() == str(SIZE)
    time.sleep(0.7)  # the second micro-batch is under way
    first.press_ctrl_c()
    status, output, errors = first.end()
    assert (status, complaints(errors)) == (0, [])
    taken = len(rows(lake.features))
    assert taken == SIZE * finished_batches(lake) < total
    assert output.split()[-1] == str(taken)

    second = Process(source, lake, tmp_path)
    while taken < total:
        taken += int(second.line())
    second.terminate()
    status, output, errors = second.end()
    assert (status, complaints(errors)) == (0, [])
    assert len({row["path"] for row in rows(lake.features)}) == len(rows(lake.features)) == total

    before = versions(lake)
    assert not ingest(str(source), lake.root, ONCE).outcomes
    assert versions(lake) == before
