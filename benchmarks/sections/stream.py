"""Run `pomona ingest` as a stream, add images to its source and watch its table from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs.images import link
from benchmarks.measuring.competitors import error_line, process_environment
from benchmarks.measuring.delta_log import Commit, commits

#: Options of a measured stream: trigger every second.
OPTIONS = ("--trigger", "1")
_POLL_SECONDS = 0.05
_TIMEOUT = 600.0


@dataclass
class Stream:
    """A running stream: its process, its source folder and its table.

    `next_version` is the first table version whose rows have not been counted yet.
    """

    process: subprocess.Popen[bytes]
    source: Path
    table: Path
    stderr: Path
    next_version: int = 0
    arrivals: int = 0

    def add_images(self, file: Path, count: int = 1) -> float:
        """Add `count` copies of an image at once and wait for their rows.

        The images are linked into a hidden folder, which is then renamed, as an atomic writer does.

        Returns
        -------
        float
            Seconds from the rename to the commit of the last row.
        """
        self.arrivals += 1
        hidden = self.source / f".arriving-{self.arrivals}"
        for number in range(count):
            link(file, hidden / f"{self.arrivals}-{number}{file.suffix}")
        renamed = time.time()
        hidden.rename(self.source / f"arrived-{self.arrivals}")
        return self._wait_for_rows(count).at - renamed

    def _wait_for_rows(self, rows: int) -> Commit:
        deadline = time.monotonic() + _TIMEOUT
        while True:
            found = commits(self.table, self.next_version)
            if sum(commit.rows for commit in found) >= rows:
                self.next_version = found[-1].version + 1
                return found[-1]
            if self.process.poll() is not None or time.monotonic() > deadline:
                error = error_line(self.stderr.read_text())
                raise RuntimeError(f"the stream wrote {found} instead of {rows} rows: {error}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def running(
    source: Path, lake: Path, next_version: int, options: Sequence[str] = OPTIONS
) -> Iterator[Stream]:
    """Run a stream until the block ends.

    Parameters
    ----------
    source, lake : Path
    next_version : int
        The first version of `features` that does not exist yet.
    options : sequence of str
        Options of `pomona ingest`.
    """
    errors = lake.parent / "stream-stderr"
    with open(errors, "w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "pomona.cli", "ingest", str(source), str(lake), *options],
            env=process_environment(),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        yield Stream(process, source, lake / "features", errors, next_version)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
