"""Tests for `streaming.maintenance.requests`: requests are read in order, and each result is returned once."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming.errors import LakeError
from streaming.lake.layout import Lake
from streaming.maintenance.requests import (
    Request,
    cancel,
    pending_requests,
    poll_result,
    submit,
    write_error,
    write_result,
)
from streaming.storage.open import open_storage


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake.at(str(tmp_path / "My lake"))
    return Lake.at(f"s3://{request.getfixturevalue('bucket')}/My lake")


def test_pending_requests_are_in_order_of_submission(lake: Lake) -> None:
    assert pending_requests(lake) == []
    submitted = [Request("forget", {"paths": ["file:/Été/a b.jpg", str(n)]}) for n in range(4)]
    for request in submitted:
        submit(lake, request)
    assert pending_requests(lake) == submitted


def test_request_is_pending_until_answered_and_result_is_returned_once(lake: Lake) -> None:
    first, second = Request("count"), Request("stop")
    submit(lake, first)
    submit(lake, second)
    assert poll_result(lake, first) is None
    write_result(lake, first, {"moved": 3})
    assert pending_requests(lake) == [second]
    assert poll_result(lake, first) == {"moved": 3}
    assert poll_result(lake, first) is None
    assert poll_result(lake, second) is None


def test_poll_result_raises_error_of_failed_request(lake: Lake) -> None:
    request = Request("forget")
    submit(lake, request)
    write_error(lake, request, LakeError("no such image: name one of it"))
    assert pending_requests(lake) == []
    with pytest.raises(LakeError, match=r"^no such image: name one of it$"):
        poll_result(lake, request)


def test_canceled_request_is_not_pending(lake: Lake) -> None:
    request = Request("stop")
    submit(lake, request)
    cancel(lake, request)
    cancel(lake, request)
    assert pending_requests(lake) == []


def test_invalid_request_file_is_logged_and_kept(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    open_storage(lake.root).write(f"{lake.requests}/1.json", b"[1]")
    open_storage(lake.root).write(f"{lake.requests}/notes.txt", b"")
    assert pending_requests(lake) == []
    assert "1.json is not a request of Pomona" in caplog.text
    assert len(list(open_storage(lake.root).list(lake.requests))) == 2
