"""A running `pomona ingest`, fed with images and watched from outside."""

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

from benchmarks.contestants import complaint, environment
from benchmarks.delta_log import Commit, commits
from benchmarks.images import link

#: What a stream that is measured is told: look each second.
WORDS = ("--trigger", "1")
_POLL = 0.05
_WAIT_TIMEOUT = 600.0


@dataclass
class Stream:
    """A stream that runs: its process, the folder it looks at, and its table."""

    process: subprocess.Popen[bytes]
    source: Path
    table: Path
    errors: Path
    seen: int = 0
    dropped: int = 0

    def drop(self, file: Path, count: int = 1) -> float:
        """Let images arrive, all at once, and wait for their rows.

        They are linked into a hidden folder beside their place and renamed, as a careful writer does.

        Returns
        -------
        float
            Seconds from the renaming to the moment when the last of the rows could be read.
        """
        self.dropped += 1
        hidden = self.source / f".arriving-{self.dropped}"
        for number in range(count):
            link(file, hidden / f"{self.dropped}-{number}{file.suffix}")
        began = time.time()
        hidden.rename(self.source / f"arrived-{self.dropped}")
        return self._wait(count).at - began

    def _wait(self, rows: int) -> Commit:
        until = time.monotonic() + _WAIT_TIMEOUT
        while True:
            found = commits(self.table, self.seen)
            if sum(commit.rows for commit in found) >= rows:
                self.seen = found[-1].version + 1
                return found[-1]
            if self.process.poll() is not None or time.monotonic() > until:
                said = complaint(self.errors.read_text())
                raise RuntimeError(f"the stream gave {found} instead of {rows} rows: {said}")
            time.sleep(_POLL)


@contextmanager
def running(source: Path, lake: Path, seen: int, words: Sequence[str] = WORDS) -> Iterator[Stream]:
    """Run a stream; it ends with the block.

    Parameters
    ----------
    source, lake : Path
    seen : int
        The first version of the table that is not there yet.
    words : sequence of str
        Options of `pomona ingest`.
    """
    errors = lake.parent / "stream-stderr"
    with open(errors, "w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "pomona.cli", "ingest", str(source), str(lake), *words],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
    try:
        yield Stream(process, source, lake / "features", errors, seen)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
