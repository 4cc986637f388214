"""Tests for `streaming.delta.tables` without Spark."""

from __future__ import annotations

import errno
from pathlib import Path
from unittest.mock import Mock

import pytest

from streaming.delta.tables import create_table
from streaming.storage.interface import TransientError
from support.faults.failing_listing import fail_listing
from support.lakes.table_rows import FEATURES


def test_log_that_cannot_be_listed_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = tmp_path / "features" / "_delta_log" / f"{0:020}.json"
    commit.parent.mkdir(parents=True)
    commit.write_text("{}")
    fail_listing(monkeypatch, commit.parent, errno.EIO)
    with pytest.raises(TransientError):
        create_table(Mock(), f"file:{tmp_path}/features", FEATURES)
    assert commit.read_text() == "{}"
