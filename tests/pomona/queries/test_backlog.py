"""Tests for the sources and backlogs of `pomona status`, on lakes that delta-rs writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from pomona.queries.status import status
from streaming.delta.log import Commit
from streaming.delta.row_counts import count_changes
from streaming.lake.format_version import write_format
from streaming.lake.history import same_rows
from streaming.lake.layout import Lake
from streaming.sources.selection import Selection, write_selection
from support.processes.cli import Command, forbid_spark

MILLISECONDS = 1_700_000_000_000


@pytest.fixture
def pomona(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    forbid_spark(monkeypatch)
    return Command(monkeypatch, capsys)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake without rows, with the tables features and quarantine."""
    lake = Lake.at(str(tmp_path / "lake"))
    write_format(lake.root)
    commit(lake.features)
    commit(lake.quarantine)
    return lake


def create(folder: Path, *names: str) -> Path:
    """Create files of five bytes that were last modified at `MILLISECONDS`."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        os.utime(path, (MILLISECONDS / 1000, MILLISECONDS / 1000))
    return folder


def commit(table: str, *paths: str, **metadata: Any) -> None:
    """Append a row for each path, with this commit metadata."""
    columns = {
        "path": pa.array(paths, pa.string()),
        "label": pa.array(["Fig"] * len(paths), pa.string()),
        "model_id": pa.array(["m"] * len(paths), pa.string()),
        "reason": pa.array(["corrupt"] * len(paths), pa.string()),
        "length": pa.array([5] * len(paths), pa.int64()),
        "modification_time": pa.array(
            [MILLISECONDS * 1000] * len(paths), pa.timestamp("us", "UTC")
        ),
    }
    properties = deltalake.CommitProperties({"userMetadata": json.dumps(metadata)})
    deltalake.write_deltalake(
        table.removeprefix("file:"),
        pa.table(columns),
        mode="append",
        commit_properties=properties,
    )


def test_status_counts_backlog_of_every_source(lake: Lake, tmp_path: Path, pomona: Command) -> None:
    one = create(tmp_path / "one", "Fig/a.jpg", "Fig/b.jpg", "Fig/c.jpg", "Fig/raw/d.jpg")
    two = create(tmp_path / "Two [x]", "Fig/a.jpg")
    (one / "Fig" / "b.jpg").write_bytes(b"longer than before")
    write_selection(lake.sources, f"file:{one}", Selection(exclude=["raw"]))
    write_selection(lake.sources, f"file:{two}", Selection())
    write_selection(lake.sources, f"file:{tmp_path}/gone", Selection())
    commit(lake.features, f"file:{one}/Fig/a.jpg", source=f"file:{one}")
    commit(lake.quarantine, f"file:{one}/Fig/b.jpg", source=f"file:{one}")
    result = pomona("status", lake.root, "--json").json
    counts = {
        Path(each["source"]).name: [
            each[key] for key in ("listed", "missing", "changed", "backlog")
        ]
        for each in result["sources"]
    }
    assert counts == {"Two [x]": [1, 1, 0, 1], "gone": [None] * 4, "one": [3, 1, 1, 2]}
    assert result["backlog"] == 3
    assert result["source"] == str(one)
    assert "does not exist" in result["sources"][1]["error"]
    lines = pomona("status", lake.root).out.splitlines()
    assert f"source       {two}: 1 image (1 missing, 0 changed)" in lines
    assert f"source       {one}: 2 images (1 missing, 1 changed)" in lines
    assert "backlog      3 images, without 1 of 3 sources" in lines


def test_sources_of_lake_without_stored_sources_come_from_commits(
    lake: Lake, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        folder = create(tmp_path / name, "Fig/a.jpg", "Fig/b.jpg")
        commit(lake.features, f"file:{folder}/Fig/a.jpg", source=f"file:{folder}")
    result = status(lake.root)
    assert {Path(each["source"]).name: each["backlog"] for each in result["sources"]} == {
        "one": 1,
        "two": 1,
    }


@pytest.mark.slow
def test_status_of_long_log_reads_few_commits(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create(tmp_path / "one", "Fig/a.jpg")
    commit(lake.features, f"file:{folder}/Fig/a.jpg", source=f"file:{folder}")
    log = Path(lake.features.removeprefix("file:"), "_delta_log")
    # Other programs made 1,500 commits since: with 100,000, status takes as long.
    (log / f"{2:020}.json").write_text(json.dumps({"commitInfo": {"operation": "OPTIMIZE"}}))
    for number in range(3, 1500):
        os.link(log / f"{2:020}.json", log / f"{number:020}.json")
    deltalake.DeltaTable(log.parent).create_checkpoint()
    read: list[int] = []
    monkeypatch.setattr(
        Commit, "read", lambda self, content=None: read.append(self.number) or (1, {})
    )
    result = status(lake.root)
    assert (result["rows"], result["last_batch"]) == (1, None)
    assert 1000 <= len(read) <= 1001
    assert count_changes(lake.features, 1, 1499) is None
    assert not same_rows(lake, 1, 1499)
    assert len(read) <= 1001
