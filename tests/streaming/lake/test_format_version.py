"""Tests for `streaming.lake.format_version`: commands reject lakes of a newer format."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from streaming.errors import LakeError
from streaming.lake.format_version import FORMAT, read_format, write_format
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from support.processes.cli import Command, forbid_spark, make_workspace

COMMANDS = ["ingest photos lake", "refit lake", "status lake", "quarantine lake", "history lake"]
COMMANDS += ["diff lake 1 2", "show lake", "show lake 1.jpg", "tag lake", "tag lake march"]
#: Digest of the columns and constraints of each format.
CONTRACTS = {2: "b30a9240fdd3", 3: "54fd9ca9a536", 4: "128bd524d174", 5: "2477c6105975"}


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forbid_spark(monkeypatch)
    return make_workspace(tmp_path, monkeypatch)


def test_columns_and_constraints_change_only_with_format() -> None:
    contract = [
        (table.name, [(c.name, c.type, c.nullable) for c in table.columns], table.constraints)
        for table in (features_table(1280), QUARANTINE, REFITS)
    ]
    digest = hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()[:12]
    assert digest == CONTRACTS[FORMAT], (
        "columns or constraints have changed, which existing lakes do not have. Increase FORMAT in "
        "streaming/lake/format_version.py (unless this format has not been released), and add "
        f"the digest {digest} here"
    )


def test_format_round_trip(tmp_path: Path) -> None:
    assert read_format(f"file:{tmp_path}/nowhere") is None
    write_format(f"file:{tmp_path}/lake")
    lake_format = Lake.at(str(tmp_path / "lake")).format()
    assert lake_format
    assert (lake_format.number, lake_format.pomona) == (FORMAT, "0.1.0")


@pytest.mark.parametrize("line", [*COMMANDS, "upgrade lake"])
def test_newer_format_is_rejected_with_one_line(
    pomona: Command, working_folder: Path, line: str
) -> None:
    (working_folder / "lake").mkdir()
    (working_folder / "lake" / "lake.json").write_text(
        '{"format": 7, "pomona": "3.2.1", "more": []}'
    )
    done = pomona(*line.split())
    assert done.status == 1
    assert "lake has format 7, made by Pomona 3.2.1" in done.error_line
    assert (
        f"supports formats up to {FORMAT}: install that version or a newer one" in done.error_line
    )
    assert [file.name for file in (working_folder / "lake").iterdir()] == ["lake.json"]


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"format": "2"}', '{"format": 0}', "{\x00"])
def test_broken_format_file_is_reported_with_remedy(
    pomona: Command, working_folder: Path, text: str
) -> None:
    (working_folder / "lake").mkdir()
    (working_folder / "lake" / "lake.json").write_text(text)
    error_line = pomona("status", "lake").error_line
    assert "lake/lake.json: broken" in error_line
    assert "`pomona upgrade" in error_line


def test_file_is_not_a_lake(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(LakeError, match="is not a lake"):
        Lake.at(str(tmp_path / "notes.txt")).validate()
