"""Running a contestant: a fresh process, its words, its memory, and what becomes of one that cannot run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.memory import MemoryWatch
from benchmarks.stopwatch import STARTED_AT

#: Seconds after which a contestant is given up.
RUN_TIMEOUT = 1800.0

Run = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """One way of doing the work.

    Parameters
    ----------
    key : str
        Its name among the results.
    title : str
        Its name in the table.
    words : callable
        From an empty folder of its own to what follows `python -m`.
    needs : sequence of str
        Packages without which it cannot run.
    read : callable, optional
        From what it printed, its start (seconds since 1970) and its folder to a result. Unless given, it is
        the line of `Stopwatch`.
    aside : bool
        Whether it takes part in fewer rounds: no target is about it, or its figure is steady.
    """

    key: str
    title: str
    words: Callable[[Path], Sequence[str]]
    needs: Sequence[str] = ()
    read: Callable[[str, float, Path], Run] = lambda out, _started, _folder: last_line(out)
    aside: bool = False

    @property
    def missing(self) -> str:
        """Why it cannot run here, or nothing."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else ""


def run(contestant: Contestant, work: Path) -> Run:
    """Run a contestant once.

    Returns
    -------
    dict
        ``count``, ``seconds``, ``startup``, the peaks of memory; or ``skipped``, with the reason.
    """
    if contestant.missing:
        return {"skipped": contestant.missing}
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=work, prefix=f"{contestant.key}-"))
    try:
        command = [sys.executable, "-m", *contestant.words(folder)]
        os.sync()  # what was prepared, or left by others, is not written while this one is measured
        with open(folder / "stderr", "w+") as said:
            started = time.time()
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=environment() | {STARTED_AT: repr(started)},
            )
            memory = MemoryWatch(process.pid)
            memory.start()
            try:
                out, _ = process.communicate(timeout=RUN_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
            wall = time.time() - started
            peaks = memory.stop()
            said.seek(0)
            if process.returncode:
                return {"skipped": complaint(said.read()) or f"exit status {process.returncode}"}
        found = contestant.read(out, started, folder) | peaks
        # Who tells nothing of its start needed all else for it.
        return {"startup": wall - (found.get("whole") or found["seconds"]), "wall": wall} | found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(*words: str) -> None:
    """Run the command `pomona`, not timed.

    Raises
    ------
    RuntimeError
        Where it fails, with its line.
    """
    command = [sys.executable, "-m", "pomona.cli", *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(complaint(done.stderr) or f"exit status {done.returncode}")


def environment() -> dict[str, str]:
    """What contestants share: this Python for workers, the loopback alone, and nobody is told of it."""
    env = os.environ | {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "RAY_USAGE_STATS_ENABLED": "0",
        "DAFT_ANALYTICS_ENABLED": "0",
        "SCARF_NO_ANALYTICS": "true",
        "DO_NOT_TRACK": "true",
    }
    if "JAVA_HOME" not in env and not shutil.which("java"):
        from streaming.spark.java import java_home

        env["JAVA_HOME"] = str(java_home())
    return env


def last_line(out: str) -> Run:
    """The line of JSON that a contestant prints at its end."""
    lines = [line for line in out.splitlines() if line.startswith("{")]
    found: Run = json.loads(lines[-1])
    return found


def complaint(said: str) -> str:
    """The line of a standard error that says most."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("pomona: ") or "Error" in line.split(":")[0]:
            return line[:200]
    return lines[-1][:200] if lines else ""
