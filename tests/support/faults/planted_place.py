"""A lake that is replaced before each case of a test for planted entries, and the rules that each command must keep."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from batch_pca.refits.folder import create_folder
from streaming.errors import PomonaError
from streaming.lake.layout import Lake
from streaming.lease.holder import Holder
from streaming.maintenance.requests import Request, submit
from streaming.sanitize import message_line
from streaming.sources.selection import Selection, write_selection
from support.faults.canaries import SECRET, Audit, Canaries
from support.lakes.history_lake import KEPT, HistoryLake, create_history_lake
from support.lakes.small_lakes import put
from support.processes.cli import Command, CommandResult, forbid_spark, slowness
from support.processes.inotify_watch import Watch

#: A request whose result is in the lake of `create_template`.
REQUEST = Request("forget", {}, "00000000000000000002-abcdef02")
MAX_SECONDS = 30
MAX_LINE = 2100
_FAULTS_SHOWN = 100
_REMEDY = re.compile(
    r"\b(restore|delete|remove|run|rerun|use|check|choose|replace|set|give|create|wait|rename|start|upgrade|make|"
    r"available are|is missing or damaged|no data was lost|existing tags|lists)\b"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass
class Place:
    """A lake that is replaced before each case, the canaries beside it, and what was found."""

    template: Path
    folder: Path
    history_lake: HistoryLake
    canaries: Canaries
    audit: Audit
    watch: Watch
    pomona: Command
    faults: list[str] = field(default_factory=list)
    cases: int = 0

    @property
    def lake(self) -> Path:
        """Folder of the lake."""
        return self.folder / "lake"

    def renew(self) -> Lake:
        """Replace the lake by a copy of the template."""
        shutil.rmtree(self.lake, ignore_errors=True)
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        shutil.copytree(self.template, self.lake)
        return Lake.at(str(self.lake))

    def check(self, case: str, call: Callable[[], CommandResult | None]) -> None:
        """Run a command or a function, and record each rule that it breaks."""
        self.cases += 1
        print(self.cases, case, flush=True)
        started = time.monotonic()
        found: list[str] = []
        self.watch.pending()
        with self.audit.recording() as events:
            try:
                result = call()
                found += judge(result) if result else []
            except PomonaError as error:
                found += judge(CommandResult(1, "", f"pomona: {message_line(str(error))}\n"))
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                found.append("".join(traceback.format_exception(error)[-4:]))
        found += events
        found += [f"opened outside: {event.name}" for event in self.watch.pending()]
        if time.monotonic() - started > MAX_SECONDS * slowness():
            found.append(f"took {time.monotonic() - started:.0f} s")
        self.faults += [f"{case}\n    {fault}" for fault in dict.fromkeys(found)]

    def fail_if_broken(self) -> None:
        """Fail if a case broke a rule, or a canary has changed."""
        faults = [*self.faults, *self.canaries.changes()]
        print(f"{self.cases} cases, {len(faults)} faults")
        if faults:
            pytest.fail("\n".join(faults[:_FAULTS_SHOWN]), pytrace=False)

    def run(self, case: str, *arguments: object) -> None:
        """Run a command on the lake."""
        name, *rest = arguments
        self.check(f"{case}: {name} {rest}", lambda: self.pomona(name, self.lake, *map(str, rest)))


def judge(result: CommandResult) -> list[str]:
    """Return what is wrong with the status and the output of a command."""
    found = []
    lines = [line for line in result.err.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("pomona: ")]
    if result.status not in (0, 1, 2, 3):
        found.append(f"exit code {result.status}: {result.err[-500:]}")
    if "Traceback" in result.out + result.err:
        found.append(result.err[-1500:])
    if SECRET in result.out + result.err:
        found.append(f"content of a canary: {(result.out + result.err)[:500]}")
    if _CONTROL.search(result.out + result.err):
        found.append(f"control character: {(result.out + result.err)[:500]!r}")
    if result.status == 1 and not (errors and _REMEDY.search(errors[-1])):
        found.append(f"no clear line: {result.err[:1500]}")
    if len(lines) > 4 or any(len(line) > MAX_LINE for line in lines):
        found.append(f"too long: {result.err[:300]} … {result.err[-300:]}")
    return found


def create_template(folder: Path) -> HistoryLake:
    """Create a lake with each kind of small document in it."""
    history_lake = create_history_lake(folder)
    lake = history_lake.lake
    tag = {"version": 2, "committed": "2026-03-03T08:30:00+00:00"}
    tag |= {"created_at": "2026-03-03T08:30:00+00:00"}
    put(Path(history_lake.folder, "tags", "good.json"), json.dumps(tag).encode())
    submit(lake, Request("forget", {"paths": [KEPT]}, "00000000000000000001-abcdef01"))
    answer = {"features": [KEPT], "quarantine": [], "unknown": [], "existing": []}
    put(
        Path(history_lake.folder, "requests", "answers", f"{REQUEST.id}.json"),
        json.dumps(answer).encode(),
    )
    write_selection(lake.sources, "file:/photos", Selection())
    with create_folder(lake, "20260303T083000Z-v9-abcd"):
        pass  # a refit that failed
    put(Path(history_lake.folder, "lease.json"), Holder(host="elsewhere").as_json())
    return history_lake


@contextmanager
def open_place(
    template: HistoryLake,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    pomona: Command,
    *,
    spark: bool = False,
) -> Iterator[Place]:
    """Yield the place, in which Spark cannot be started unless `spark`; at the end, fail if a case broke a rule."""
    if not spark:
        forbid_spark(monkeypatch)
    canaries = Canaries(folder / "outside")
    work = folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("pomona.similarity.vector_cache.cache_folder", lambda: work / "cache")
    roots = (str(work), os.environ["XDG_CONFIG_HOME"], "/dev/shm")
    if spark:  # Python writes temporary files for Java
        roots = (*roots, tempfile.gettempdir())
    audit = Audit(roots, (str(work), str(canaries.folder)), may_start=spark)
    with canaries.watched() as watch:
        found = Place(Path(template.folder), work, template, canaries, audit, watch, pomona)
        yield found
    shutil.rmtree(found.lake, ignore_errors=True)
    found.fail_if_broken()
