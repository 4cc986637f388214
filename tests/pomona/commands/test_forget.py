"""Tests for `pomona forget` without Spark."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.lakes.deltars_lakes import create_deltars_lake, random_images
from support.processes.cli import Command


def test_unknown_path_is_rejected_without_starting_spark(
    pomona: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_session(**options: object) -> None:
        raise AssertionError("Spark takes seconds to start")

    monkeypatch.setattr("streaming.ingest.request_client.start_session", start_session)
    create_deltars_lake(tmp_path / "lake", random_images(3, 4))
    remedy = "give values of the column `path`, as `pomona similar`, `pomona quarantine` or `pomona query` print them"
    for paths, unknown in (
        (["x.jpg"], "x.jpg is in no table of"),
        (["x.jpg", "y.jpg"], "x.jpg, is in a table of"),
    ):
        done = pomona("forget", str(tmp_path / "lake"), *paths)
        assert done.status == 1
        assert done.error_line.endswith(f"{unknown} {tmp_path}/lake: {remedy}")
    assert "none of 2 paths, such as " in done.error_line
