"""Tests for 3,256 links, names, JSON documents and log entries that are planted into a source and a lake.

Each case plants into a copy of a lake and runs a command in this process, without Spark. Nothing outside may be opened
or changed, and nothing planted may be imported or executed. A command succeeds, or prints one line that names the file
and the remedy. `POMONA_PLANTED_SEED` selects other cases, and `POMONA_PLANTED_SHARE` a share of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faults.planted_cases import CASES
from support.faults.planted_place import Place, create_template, open_place
from support.lakes.history_lake import HistoryLake
from support.processes.cli import Command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SEED = int(os.environ.get("POMONA_PLANTED_SEED", "18"))
SHARE = float(os.environ.get("POMONA_PLANTED_SHARE", "1"))
HUGE = 100 * 10**6


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> HistoryLake:
    return create_template(tmp_path_factory.mktemp("template") / "lake")


@pytest.fixture
def place(
    template: HistoryLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pomona: Command
) -> Iterator[Place]:
    with open_place(template, tmp_path, monkeypatch, pomona) as opened:
        yield opened


@pytest.mark.parametrize("kind", list(CASES))
def test_planted_entry_breaks_no_rule(place: Place, kind: str) -> None:
    run, count = CASES[kind]
    for number in range(max(1, round(count * SHARE))):
        run(random.Random(f"{SEED} {kind} {number}"), place)
    place.pomona.capture.readouterr()
    with place.pomona.capture.disabled():
        print(f"\n{kind}: {place.cases} cases, seed {SEED}, {len(place.faults)} faults")


@pytest.mark.parametrize("name", ["lake.json", "tags/good.json", "sources.json"])
def test_huge_document_is_rejected(place: Place, name: str) -> None:
    place.renew()
    with open(place.lake / name, "wb") as file:
        file.write(b"[")
        file.truncate(HUGE)
    place.run(name, "status")
    place.run(name, "tag")
