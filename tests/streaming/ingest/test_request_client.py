"""Tests for `streaming.ingest.request_client`."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming.errors import ExternalError
from streaming.ingest.request_client import submit_and_wait
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease
from streaming.maintenance.requests import Request, pending_requests


def test_submit_and_wait_without_answer_raises_error_and_keeps_request(tmp_path: Path) -> None:
    lake, request = Lake.at(str(tmp_path / "My lake")), Request("retry", {"reason": None})
    with acquire_lease(lake):
        message = r"no answer to retry from the stream of .*My lake within 0 s"
        with pytest.raises(ExternalError, match=message):
            submit_and_wait(lake, request, timeout=0)
        assert pending_requests(lake) == [request]
