"""Tests for `streaming.maintenance.requests`.

What a command asks of a stream arrives whole, in order, and is answered once.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streaming.errors import ExternalError, LakeError
from streaming.lake.layout import Lake
from streaming.maintenance.requests import (
    Request,
    await_answer,
    cancel,
    pending_requests,
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


def test_requests_are_found_in_the_order_in_which_they_were_left(lake: Lake) -> None:
    assert pending_requests(lake) == []
    left = [Request("forget", {"paths": ["file:/Été/a b.jpg", str(n)]}) for n in range(4)]
    for request in left:
        submit(lake, request)
    assert pending_requests(lake) == left


def test_a_request_is_pending_until_it_is_answered_and_the_answer_is_given_once(lake: Lake) -> None:
    first, second = Request("retry", {"reason": None}), Request("stop")
    submit(lake, first)
    submit(lake, second)
    waiting = threading.Timer(0.1, write_result, [lake, first, {"moved": 3}])
    waiting.start()
    assert await_answer(lake, first, 60) == {"moved": 3}
    waiting.join()
    assert pending_requests(lake) == [second]
    with pytest.raises(
        ExternalError, match=r"no answer to retry from the stream of .*My lake within"
    ):
        await_answer(lake, first, 0)


def test_an_answer_can_be_an_error_which_is_raised_where_the_request_came_from(lake: Lake) -> None:
    request = Request("forget")
    submit(lake, request)
    write_error(lake, request, LakeError("no such image: name one of it"))
    assert pending_requests(lake) == []
    with pytest.raises(LakeError, match=r"^no such image: name one of it$"):
        await_answer(lake, request, 60)


def test_a_request_can_be_taken_back(lake: Lake) -> None:
    request = Request("stop")
    submit(lake, request)
    cancel(lake, request)
    cancel(lake, request)
    assert pending_requests(lake) == []


def test_a_file_that_is_no_request_is_told_of_and_left_alone(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    open_storage(lake.root).write(f"{lake.requests}/1.json", b"[1]")
    open_storage(lake.root).write(f"{lake.requests}/notes.txt", b"")
    assert pending_requests(lake) == []
    assert "1.json is no request of Pomona's" in caplog.text
    assert len(list(open_storage(lake.root).list(lake.requests))) == 2
