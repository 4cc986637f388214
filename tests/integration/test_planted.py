"""Tests for some 90 planted links, names, documents and log entries; the long form is `chaos/test_planted`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.faults.planted_cases import CASES
from support.faults.planted_place import create_template, open_place
from support.processes.cli import Command

COUNTS = {"documents": 12, "links": 30, "log": 8, "names": 4, "arguments": 4, "rows": 4, "files": 4}


@pytest.mark.slow
def test_planted_entries_break_no_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pomona: Command
) -> None:
    template = create_template(tmp_path / "template")
    (tmp_path / "cases").mkdir()
    with open_place(template, tmp_path / "cases", monkeypatch, pomona) as place:
        for kind, (run, _) in CASES.items():
            for number in range(COUNTS.get(kind, 1)):
                run(random.Random(f"7 {kind} {number}"), place)
    assert place.cases == sum(COUNTS.values()) + 25
