"""Run a competitor in a fresh process and measure its duration and memory."""

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

from benchmarks.measuring.memory import MemoryMonitor
from benchmarks.measuring.timing import STARTED_AT

#: Seconds after which a competitor is killed.
RUN_TIMEOUT = 1800.0

Run = dict[str, Any]


@dataclass(frozen=True)
class Competitor:
    """A program that does the measured work in its own way.

    Parameters
    ----------
    key : str
        Key in the results.
    title : str
        Name in the report's table.
    arguments : callable
        Takes an empty folder for the run; returns the arguments of `python -m`.
    requires : sequence of str
        Packages without which the competitor is skipped.
    parse_output : callable, optional
        Takes standard output, the start time (seconds since 1970) and the folder; returns the result. By default
        the result is the JSON line that `Stopwatch` prints.
    secondary : bool
        Run in the first `secondary_rounds` only, because no target depends on it or its result hardly varies.
    """

    key: str
    title: str
    arguments: Callable[[Path], Sequence[str]]
    requires: Sequence[str] = ()
    parse_output: Callable[[str, float, Path], Run] = lambda out, _started, _folder: last_line(out)
    secondary: bool = False

    @property
    def unavailable_reason(self) -> str:
        """Return why the competitor cannot run on this machine, or an empty string."""
        missing = [name for name in self.requires if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else ""


def run(competitor: Competitor, work: Path) -> Run:
    """Run a competitor once.

    Returns
    -------
    dict
        ``count``, ``seconds``, ``startup`` and the memory peaks, or ``skipped`` with the reason.
    """
    if competitor.unavailable_reason:
        return {"skipped": competitor.unavailable_reason}
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=work, prefix=f"{competitor.key}-"))
    try:
        command = [sys.executable, "-m", *competitor.arguments(folder)]
        os.sync()  # flush earlier writes now, not during the measurement
        with open(folder / "stderr", "w+") as stderr:
            started = time.time()
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=process_environment() | {STARTED_AT: repr(started)},
            )
            memory = MemoryMonitor(process.pid)
            memory.start()
            try:
                out, _ = process.communicate(timeout=RUN_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
            wall = time.time() - started
            peaks = memory.stop()
            stderr.seek(0)
            if process.returncode:
                return {"skipped": error_line(stderr.read()) or f"exit code {process.returncode}"}
        result = competitor.parse_output(out, started, folder) | peaks
        # If the program does not report its startup time, all time outside the work counts as startup.
        return {"startup": wall - (result.get("whole") or result["seconds"]), "wall": wall} | result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_pomona(*arguments: str) -> None:
    """Run a `pomona` command without timing it.

    Raises
    ------
    RuntimeError
        If the command fails; with its error message.
    """
    command = [sys.executable, "-m", "pomona.cli", *arguments]
    done = subprocess.run(
        command, env=process_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(error_line(done.stderr) or f"exit code {done.returncode}")


def process_environment() -> dict[str, str]:
    """Return the environment of all competitors: this Python for workers, loopback only, telemetry off."""
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
    """Return the last line of JSON in a program's output, parsed."""
    lines = [line for line in out.splitlines() if line.startswith("{")]
    result: Run = json.loads(lines[-1])
    return result


def error_line(stderr: str) -> str:
    """Return the most informative line of standard error, at most 200 characters."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("pomona: ") or "Error" in line.split(":")[0]:
            return line[:200]
    return lines[-1][:200] if lines else ""
