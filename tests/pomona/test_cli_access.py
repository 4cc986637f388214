"""Tests for commands on lakes that cannot be read or written: each error of the system has its own remedy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faults.small_disk import small_disk
from support.faults.unusual_entries import WITHOUT_CAPABILITIES
from support.lakes.history_lake import create_history_lake
from support.lakes.small_lakes import jpeg
from support.processes.cli import Command, environment

DENIED = "give this user access, or rerun the command as a user who has it"
READ_ONLY = "mount the file system for writing, or choose a path on another one"
TOO_LONG = "choose a shorter path"
DAMAGED = "missing or damaged"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a lake with two refits, and images."""
    create_history_lake(tmp_path / "lake")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(1))
    return tmp_path


@pytest.fixture
def read_only(folder: Path) -> Iterator[Path]:
    """The same folder on a file system that is mounted only for reading."""
    with small_disk(folder / "disk", 8) as disk:
        for name in ("lake", "photos"):
            shutil.copytree(folder / name, disk.folder / name)
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
        yield disk.folder


def test_read_only_file_system_has_its_remedy(
    read_only: Path, folder: Path, pomona: Command
) -> None:
    lake = read_only / "lake"
    for arguments in (
        ("tag", lake, "march", "--as-of", 1),
        ("prune", lake, "--keep", 1),
        ("ingest", read_only / "photos", lake, "--weights", "random"),
        ("ingest", read_only / "photos", read_only / "new", "--weights", "random"),
        ("export", folder / "lake", read_only / "features.csv"),
        ("demo", "--folder", read_only / "demo"),
    ):
        line = pomona(*arguments).error_line
        assert "Read-only file system" in line, arguments
        assert READ_ONLY in line, arguments
        assert DAMAGED not in line


@pytest.mark.slow
def test_denied_access_has_its_remedy(folder: Path) -> None:
    lake = folder / "lake"
    data = list((lake / "features").glob("*.parquet"))

    def error_of(*arguments: object) -> str:
        """Run a command without the capability to enter and change every folder."""
        command = [sys.executable, "-m", "pomona.cli", *map(str, arguments)]
        done = subprocess.run(
            [*WITHOUT_CAPABILITIES, *command],
            env=environment(XDG_CACHE_HOME=str(folder / "cache")),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        return line

    denied = []
    for changed, mode, arguments in (
        ([lake], 0o555, ("tag", lake, "march", "--as-of", 1)),
        ([lake / "reduced" / name.name for name in (lake / "reduced").iterdir()], 0o555,
         ("prune", lake, "--keep", 1)),
        ([lake], 0o000, ("status", lake)),
        ([lake / "refits" / "_delta_log"], 0o000, ("history", lake)),
        (data, 0o000, ("export", lake, folder / "features.csv")),
        (data, 0o000, ("diff", lake, 1, 2)),
    ):  # fmt: skip
        before = {path: path.stat().st_mode for path in changed}
        for path in changed:
            path.chmod(mode)
        denied.append(error_of(*arguments))
        for path, earlier in before.items():
            path.chmod(earlier)
    for line in denied:
        assert "Permission denied" in line
        assert DENIED in line
        assert DAMAGED not in line
    assert not (folder / "features.csv").exists()


def test_too_long_name_has_its_remedy(folder: Path, pomona: Command) -> None:
    name = "x" * 300
    for arguments in (
        ("status", folder / name),
        ("ingest", folder / "photos", folder / name, "--weights", "random"),
        ("ingest", folder / name, folder / "new", "--weights", "random"),
        ("demo", "--folder", folder / name),
    ):
        line = pomona(*arguments).error_line
        assert "File name too long" in line, arguments
        assert TOO_LONG in line, arguments


def test_missing_data_file_is_named(folder: Path, pomona: Command) -> None:
    for file in (folder / "lake" / "features").glob("*.parquet"):
        file.unlink()
    line = pomona("export", folder / "lake", folder / "features.csv").error_line
    assert DAMAGED in line
    assert ".parquet" in line
