"""Kills a command again and again at chosen moments, looks at the lake after each, and at all of it in the end."""

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

from support.arriving_images import Arrivals
from support.command_process_tree import CommandProcess
from support.inotify_watch import Event
from support.lake_invariants import LakeChecker

#: Reads a lake as any program with Spark would, and loads the pipeline of each refit.
PLAIN_SPARK = """
import json, sys
from pyspark.ml import PipelineModel
from streaming.spark.session import start_session
lake = sys.argv[1]
spark = start_session(s3=lake.startswith("s3a:"))
told = {}
for name in ("features", "quarantine", "refits"):
    table = spark.read.format("delta").load(f"{lake}/{name}")
    key = "refit_id" if name == "refits" else "path"
    told[name] = [table.count(), table.select(key).distinct().count()]
for row in spark.read.format("delta").load(f"{lake}/refits").collect():
    folder = f"{lake}/reduced/{row.refit_id}"
    assert len(PipelineModel.load(f"{folder}/pipeline").stages) == 2
    assert spark.read.parquet(f"{folder}/parquet").count() == row.rows
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Aim:
    """The moment at which something happens to a file, and up to some seconds later.

    Parameters
    ----------
    what : str
        Of `watching.Event`; ``start`` is the command's own.
    name : str
        A pattern of the file's path, from the folder that is watched.
    within : float
        Seconds after it, of which as many pass as chance says.
    watched : str
        Which of the watchers tells it.
    command : str
        ``ingest`` or ``refit``.
    """

    what: str
    name: str
    within: float = 0.0
    watched: str = "lake"
    command: str = "ingest"


class Watcher(Protocol):
    """Tells what happens to files while it does."""

    def events(self, seconds: float) -> Iterator[Event]:
        """What happens from now on, for so long; `nothing` from time to time."""

    def close(self) -> None:
        """Stop watching."""


@dataclass
class Killing:
    """A source, a lake, and a command that is killed.

    Parameters
    ----------
    folder : Path
        Takes what the commands say.
    source, lake : str
        As a person types them.
    arrivals : Arrivals
    checker : LakeChecker
    watch : callable
        Starts the watchers, by name.
    chance : random.Random
    env : mapping, optional
        The commands' environment, in place of this process's.
    pause : float
        Seconds after each kill: on S3, what a killed command held is free once its term has run out.
    """

    folder: Path
    source: str
    lake: str
    arrivals: Arrivals
    checker: LakeChecker
    watch: Callable[[], Mapping[str, Watcher]]
    chance: random.Random
    env: Mapping[str, str] | None = None
    pause: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    processes: int = 0

    def go_through(self, aims: Mapping[str, Aim], names: Iterable[str]) -> None:
        """Kill once at each of these moments."""
        for name in names:
            started = time.monotonic()
            in_time = self.kill(aims[name])
            (self.kills if in_time else self.missed)[name] += 1
            number, seconds = self.kills.total() + self.missed.total(), time.monotonic() - started
            print(f"{number:3} {name}{'' if in_time else ' (missed)'}, {seconds:.1f} s", flush=True)

    def kill(self, aim: Aim) -> bool:
        """Start the command while images arrive, kill it at a moment, and look at what it left.

        Returns
        -------
        bool
            Whether the moment came; it is killed anyway.
        """
        watchers = self.watch()
        self.arrivals.deliver(6)
        victim = self.start(aim.command)
        try:
            with self.arrivals.delivering(1, every=0.8):
                in_time = self._wait(aim, watchers[aim.watched], victim)
                status = victim.status
        finally:
            self.processes += victim.kill()
            for watcher in watchers.values():
                watcher.close()
        assert status is None or aim.command == "refit", victim.said
        self.checker.assert_consistent()
        time.sleep(self.pause)
        return in_time and status is None

    def start(self, command: str) -> CommandProcess:
        """The command, in a hurry."""
        words: list[object] = ["refit", self.lake, "--components", 2, "--full"]
        if command != "refit":
            words = ["ingest", self.source, self.lake, "--trigger", 1, "--settle", 0]
            words += ["--once"] if command == "once" else ["--max-files-per-trigger", 8]
            words += ["--sweep-every", 5]
        return CommandProcess(self.folder, *words, env=self.env)

    def finish(self) -> None:
        """Let it take what is left, and look at everything."""
        assert (taken := self.start("once")).wait() == 0, taken.said
        self.checker.assert_rows(self.arrivals.hashes(good=True), self.arrivals.hashes(good=False))
        self.checker.assert_checkpoint_complete()

    def finish_refits(self) -> int:
        """Refit a last time: what is below ``reduced/`` is what is published; how many those are."""
        assert (made := self.start("refit")).wait() == 0, made.said
        return self.checker.assert_refits_complete()

    def read_with_plain_spark(self) -> dict[str, list[int]]:
        """Rows and different keys of each table."""
        root = self.checker.lake.root
        done = subprocess.run(
            [sys.executable, "-c", PLAIN_SPARK, root],
            env=dict(self.env) if self.env else None,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, list[int]] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _wait(self, aim: Aim, watcher: Watcher, victim: CommandProcess) -> bool:
        if aim.what != "start":
            for event in watcher.events(600):
                if event.what == aim.what and re.fullmatch(aim.name, event.name):
                    break
                if event.what == "nothing" and victim.status is not None:
                    return False
            else:
                return False
        time.sleep(self.chance.uniform(0, aim.within))
        return True
