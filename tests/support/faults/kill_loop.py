"""Kill a command repeatedly at chosen moments; check the lake after each kill, and its content at the end."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from support.images.arriving_images import Arrivals
from support.lakes.lake_invariants import LakeChecker
from support.processes.command_process_tree import CommandProcess
from support.processes.inotify_watch import Event

#: Reads a lake with plain Spark, and loads the pipeline of each refit.
READ_WITH_SPARK = """
import json, sys
from pyspark.ml import PipelineModel
from streaming.spark.session import start_session
lake = sys.argv[1]
spark = start_session(s3=lake.startswith("s3a:"))
counts = {}
for name in ("features", "quarantine", "refits"):
    table = spark.read.format("delta").load(f"{lake}/{name}")
    key = "refit_id" if name == "refits" else "path"
    counts[name] = [table.count(), table.select(key).distinct().count()]
for row in spark.read.format("delta").load(f"{lake}/refits").collect():
    folder = f"{lake}/reduced/{row.refit_id}"
    assert len(PipelineModel.load(f"{folder}/pipeline").stages) == 2
    assert spark.read.parquet(f"{folder}/parquet").count() == row.rows
print(json.dumps(counts))
"""


@dataclass(frozen=True)
class KillPoint:
    """A moment to kill at: when an event on a file occurs, or up to some seconds later.

    Parameters
    ----------
    what : str
        As in `support.processes.inotify_watch.Event`; ``start`` is the start of the command.
    name : str
        Regular expression for the path of the file, relative to the watched folder.
    within : float
        Maximum delay after the event in seconds; the delay is random.
    watched : str
        Name of the watcher that reports the event.
    command : str
        ``ingest`` or ``refit``.
    """

    what: str
    name: str
    within: float = 0.0
    watched: str = "lake"
    command: str = "ingest"


class Watcher(Protocol):
    """Reports events on files."""

    def events(self, seconds: float) -> Iterator[Event]:
        """Yield new events for a number of seconds; `nothing` while there are none."""

    def close(self) -> None:
        """Stop watching."""


@dataclass
class KillLoop:
    """Kills the commands that work on a source and a lake.

    Parameters
    ----------
    folder : Path
        Receives the output of the commands.
    source, lake : str
        Arguments of the commands.
    arrivals : Arrivals
    checker : LakeChecker
    watch : callable
        Starts the watchers, by name.
    rng : random.Random
    env : mapping, optional
        Environment of the commands; that of this process by default.
    pause : float
        Seconds after each kill: on S3, the lease of a killed command must expire first.
    """

    folder: Path
    source: str
    lake: str
    arrivals: Arrivals
    checker: LakeChecker
    watch: Callable[[], Mapping[str, Watcher]]
    rng: random.Random
    env: Mapping[str, str] | None = None
    pause: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    processes: int = 0

    def kill_at_each(self, points: Mapping[str, KillPoint], names: Iterable[str]) -> None:
        """Kill once at each of the named points."""
        for name in names:
            started = time.monotonic()
            in_time = self.kill(points[name])
            (self.kills if in_time else self.missed)[name] += 1
            number, seconds = self.kills.total() + self.missed.total(), time.monotonic() - started
            print(f"{number:3} {name}{'' if in_time else ' (missed)'}, {seconds:.1f} s", flush=True)

    def kill(self, point: KillPoint) -> bool:
        """Start the command while images arrive, kill it at a point, and check the lake.

        Returns
        -------
        bool
            False if the command was killed without reaching the point.
        """
        watchers = self.watch()
        self.arrivals.deliver(6)
        process = self.start(point.command)
        try:
            with self.arrivals.delivering(1, every=0.8):
                in_time = self._wait(point, watchers[point.watched], process)
                status = process.status
        finally:
            self.processes += process.kill()
            for watcher in watchers.values():
                watcher.close()
        assert status is None or point.command == "refit", process.output
        self.checker.assert_consistent()
        time.sleep(self.pause)
        return in_time and status is None

    def start(self, command: str) -> CommandProcess:
        """Start the command with options that make it work fast."""
        args: list[object] = ["refit", self.lake, "--components", 2, "--full"]
        if command != "refit":
            args = ["ingest", self.source, self.lake, "--trigger", 1, "--settle", 0]
            args += ["--once"] if command == "once" else ["--max-files-per-trigger", 8]
            args += ["--sweep-every", 5]
        return CommandProcess(self.folder, *args, env=self.env)

    def finish(self) -> None:
        """Ingest the remaining images, and check the final content of the lake."""
        assert (process := self.start("once")).wait() == 0, process.output
        self.checker.assert_rows(self.arrivals.hashes(good=True), self.arrivals.hashes(good=False))
        self.checker.assert_checkpoint_complete()

    def finish_refits(self) -> int:
        """Refit once more, and check that all folders below ``reduced/`` are published; return their number."""
        assert (process := self.start("refit")).wait() == 0, process.output
        return self.checker.assert_refits_complete()

    def count_with_plain_spark(self) -> dict[str, list[int]]:
        """Return the number of rows and of distinct keys in each table."""
        root = self.checker.lake.root
        done = subprocess.run(
            [sys.executable, "-c", READ_WITH_SPARK, root],
            env=dict(self.env) if self.env else None,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, list[int]] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _wait(self, point: KillPoint, watcher: Watcher, process: CommandProcess) -> bool:
        if point.what != "start":
            for event in watcher.events(600):
                if event.what == point.what and re.fullmatch(point.name, event.name):
                    break
                if event.what == "nothing" and process.status is not None:
                    return False
            else:
                return False
        time.sleep(self.rng.uniform(0, point.within))
        return True
