"""Tests for `streaming.ingest.pending_files`."""

from __future__ import annotations

import time

import pytest

from streaming.ingest.pending_files import PendingFiles
from streaming.storage.interface import StoredFile


@pytest.mark.parametrize(("age", "due_in"), [(1.5, 0.5), (0, 2), (-60, 2)])
def test_recent_file_is_due_once_it_had_time_to_settle(
    monkeypatch: pytest.MonkeyPatch, age: float, due_in: float
) -> None:
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    pending = PendingFiles(settle=2.0)
    old, recent = (
        StoredFile(f"file:/x/{name}.jpg", 5, round((now - seconds) * 1000))
        for name, seconds in (("old", 3), ("recent", age))
    )
    pending.add_recently_modified([old, recent])
    now += due_in - 0.1
    assert pending.pop_due() == []
    now += 0.1
    assert pending.pop_due() == [recent.path]
    assert not pending
