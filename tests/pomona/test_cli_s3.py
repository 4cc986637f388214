"""Tests for error messages on S3: missing buckets, credentials and endpoints fail quickly, before Spark starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from support.aws.credentials import hide_credentials
from support.processes.cli import Command, forbid_spark, make_workspace

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_spark(monkeypatch)


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_workspace(tmp_path, monkeypatch)


@pytest.fixture
def strict(aws: dict[str, str]) -> Iterator[None]:
    """Let the moto server check credentials; no user exists."""
    address = f"{aws['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    plain = {"Content-Type": "text/plain"}
    urlopen(Request(address, b"0", plain)).close()
    yield
    urlopen(Request(address, b"inf", plain)).close()


ON_S3 = ["ingest {} lake", "ingest photos {}/lake", "status {}", "refit {}", "history {}"]


@pytest.mark.parametrize("line", ON_S3)
def test_missing_bucket(
    pomona: Command, working_folder: Path, aws: dict[str, str], line: str
) -> None:
    message = pomona(*line.format("s3://no-such-bucket-here").split()).error_line
    assert "s3://no-such-bucket-here" in message
    assert "no such bucket" in message
    assert "check" in message


def test_empty_prefix(pomona: Command, working_folder: Path, bucket: str) -> None:
    message = pomona("ingest", f"s3://{bucket}/nowhere", "lake", "--once").error_line
    assert f"s3://{bucket}/nowhere contains no images" in message
    assert "is not a lake" in pomona("status", f"s3://{bucket}/nowhere").error_line


@pytest.mark.parametrize("line", ON_S3)
def test_unknown_credentials(
    pomona: Command, working_folder: Path, bucket: str, strict: None, line: str
) -> None:
    message = pomona(*line.format(f"s3://{bucket}").split()).error_line
    assert f"s3://{bucket}" in message
    assert "InvalidAccessKeyId" in message
    assert "aws sts get-caller-identity" in message


def test_missing_credentials(
    pomona: Command, working_folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_credentials(monkeypatch, working_folder)
    message = pomona("ingest", f"s3://{bucket}", "lake").error_line
    assert "credentials" in message
    assert "AWS_PROFILE" in message


@pytest.mark.parametrize("line", ["ingest {} lake", "ingest photos {}", "status {}"])
def test_unreachable_endpoint_fails_quickly(
    pomona: Command,
    working_folder: Path,
    aws: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    started = time.monotonic()
    message = pomona(*line.format("s3://fruits").split()).error_line
    assert time.monotonic() - started < 20
    assert endpoint in message
    assert "AWS_ENDPOINT_URL" in message
