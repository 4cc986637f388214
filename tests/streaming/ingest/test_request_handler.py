"""Tests for `streaming.ingest.request_handler`."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from streaming.ingest import request_handler
from streaming.ingest.request_handler import RequestHandler
from streaming.lake.layout import Lake
from streaming.maintenance.requests import Request, submit
from support.faults.failing_listing import fail_listing


def test_requests_that_cannot_be_listed_are_executed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed = Mock()
    monkeypatch.setattr(request_handler, "execute_and_answer", executed)
    lake, processing = Lake.at(str(tmp_path)), threading.Lock()
    request = Request("forget", {"paths": []})
    submit(lake, request)
    handler = RequestHandler(Mock(lake=lake), lease=None)
    fail_listing(monkeypatch, tmp_path / "requests", errno.EIO, times=1)
    for calls in (0, 1):
        handler._has_pending = True  # as the watcher finds it at each poll
        handler.handle_pending(processing)
        assert executed.call_count == calls
        assert not processing.locked()
