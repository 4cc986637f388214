"""Tests for `streaming.lake.format_version`: a lake says what it is, and no command misreads a newer one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from streaming.errors import LakeError
from streaming.lake.format_version import FORMAT, read_format, write_format
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from support.cli import Command, forbid_spark, make_place

COMMANDS = ["ingest photos lake", "refit lake", "status lake", "quarantine lake", "history lake"]
COMMANDS += ["diff lake 1 2", "show lake", "show lake 1.jpg", "tag lake", "tag lake march"]
#: Digests of the contracts of all formats since there are any; lakes of each have been released, or may be soon.
CONTRACTS = {2: "b30a9240fdd3", 3: "54fd9ca9a536"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forbid_spark(monkeypatch)
    return make_place(tmp_path, monkeypatch)


def test_the_contract_of_the_tables_belongs_to_the_format() -> None:
    contract = [
        (table.name, [(c.name, c.type, c.nullable) for c in table.columns], table.constraints)
        for table in (features_table(1280), QUARANTINE, REFITS)
    ]
    digest = hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()[:12]
    assert digest == CONTRACTS[FORMAT], (
        "columns or constraints have changed: lakes made until now lack that. Raise FORMAT in "
        "streaming/lake/format_version.py "
        f"(unless no lake of this format has been released), and write {digest} beside it here"
    )


def test_a_format_is_written_and_read(tmp_path: Path) -> None:
    assert read_format(f"file:{tmp_path}/nowhere") is None
    write_format(f"file:{tmp_path}/lake")
    found = Lake.at(str(tmp_path / "lake")).format()
    assert found
    assert (found.number, found.pomona) == (FORMAT, "0.1.0")


@pytest.mark.parametrize("line", [*COMMANDS, "upgrade lake"])
def test_a_newer_lake_is_refused_with_one_line(pomona: Command, place: Path, line: str) -> None:
    (place / "lake").mkdir()
    (place / "lake" / "lake.json").write_text('{"format": 7, "pomona": "3.2.1", "more": []}')
    done = pomona(*line.split())
    assert done.status == 1
    assert "lake has format 7, made by Pomona 3.2.1" in done.complaint
    assert f"knows formats up to {FORMAT}: install that version or a newer one" in done.complaint
    assert [file.name for file in (place / "lake").iterdir()] == ["lake.json"]


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"format": "2"}', '{"format": 0}', "{\x00"])
def test_a_broken_file_is_told_with_its_remedy(pomona: Command, place: Path, text: str) -> None:
    (place / "lake").mkdir()
    (place / "lake" / "lake.json").write_text(text)
    told = pomona("status", "lake").complaint
    assert "lake/lake.json: broken" in told
    assert "`pomona upgrade" in told


def test_a_file_is_no_lake_and_has_no_format(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(LakeError, match="is not a lake"):
        Lake.at(str(tmp_path / "notes.txt")).validate()
