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
    done = pomona("forget", str(tmp_path / "lake"), "x.jpg", "y.jpg")
    assert done.status == 1
    assert f"x.jpg is in no table of {tmp_path}/lake: use paths as printed" in done.error_line
