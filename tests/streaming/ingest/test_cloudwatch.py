"""Tests for `streaming.ingest.cloudwatch`, on moto's CloudWatch over HTTP."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from streaming.errors import UsageError
from streaming.ingest import cloudwatch
from streaming.ingest.cloudwatch import publishing_metrics
from streaming.ingest.settings import IngestSettings, IngestSummary
from streaming.lake.layout import Lake
from support.aws.metrics import published


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudwatch, "INTERVAL", 0.05)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.s3
def test_age_and_backlog_are_published(aws: dict[str, str], tmp_path: Path) -> None:
    namespace = f"Pomona/{uuid.uuid4().hex}"
    summary = IngestSummary(waiting=7, last_row_at=time.time() - 3600)
    with publishing_metrics(namespace, Lake.at(str(tmp_path)), summary):
        # Without a commit before the run, the age is that of the run, as 3600 s ago is before its start.
        wait_for(lambda: published(namespace).keys() == {"LastCommitAge", "Backlog"})
        assert published(namespace)["Backlog"][0] == 7
        assert 0 <= published(namespace)["LastCommitAge"][0] < 60
        summary.last_row_at = time.time() + 3600
        summary.waiting = 0
        wait_for(lambda: published(namespace)["LastCommitAge"][-1] == 0)
        wait_for(lambda: published(namespace)["Backlog"][-1] == 0)


@pytest.mark.s3
def test_failed_requests_are_one_warning_until_one_succeeds(
    aws: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def check_credentials(after: bytes) -> None:
        address = f"{aws['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        urlopen(Request(address, after, {"Content-Type": "text/plain"})).close()

    def warnings() -> list[str]:
        """Return the warnings of this run: the last request of an earlier run may end after it."""
        return [message for message in caplog.messages if namespace in message]

    namespace = f"Pomona/{uuid.uuid4().hex}"
    caplog.set_level(logging.WARNING, "streaming.ingest.cloudwatch")
    check_credentials(b"0")
    try:
        with publishing_metrics(namespace, Lake.at(str(tmp_path)), IngestSummary()):
            wait_for(warnings)
            time.sleep(1)  # several requests
            (warning,) = warnings()
            assert f"metrics of {namespace} cannot be published to CloudWatch" in warning
            assert "(403)" in warning
            assert "ingestion continues" in warning
            check_credentials(b"inf")
            wait_for(lambda: published(namespace))
            check_credentials(b"0")
            wait_for(lambda: warnings()[1:])
    finally:
        check_credentials(b"inf")


@pytest.mark.parametrize("namespace", ["AWS/EMR", "", "a:b", "x" * 256, "a b"])
def test_invalid_namespace_is_rejected(namespace: str) -> None:
    with pytest.raises(UsageError, match="--cloudwatch"):
        IngestSettings(cloudwatch=namespace)
