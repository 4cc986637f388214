"""Tests for the command on S3: what is mistyped or not allowed is one line, in seconds, before Spark starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from support.cli import Command, forbid_spark, make_place

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_spark(monkeypatch)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_place(tmp_path, monkeypatch)


@pytest.fixture
def strict(aws: dict[str, str]) -> Iterator[None]:
    """The stand-in looks at credentials, and knows nobody."""
    address = f"{aws['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    plain = {"Content-Type": "text/plain"}
    urlopen(Request(address, b"0", plain)).close()
    yield
    urlopen(Request(address, b"inf", plain)).close()


ON_S3 = ["ingest {} lake", "ingest photos {}/lake", "status {}", "refit {}", "history {}"]


@pytest.mark.parametrize("line", ON_S3)
def test_a_bucket_that_is_not_there(
    pomona: Command, place: Path, aws: dict[str, str], line: str
) -> None:
    told = pomona(*line.format("s3://no-such-bucket-here").split()).complaint
    assert "s3://no-such-bucket-here" in told
    assert "no such bucket" in told
    assert "check" in told


def test_a_prefix_that_holds_nothing(pomona: Command, place: Path, bucket: str) -> None:
    told = pomona("ingest", f"s3://{bucket}/nowhere", "lake", "--once").complaint
    assert f"s3://{bucket}/nowhere contains no images" in told
    assert "is not a lake" in pomona("status", f"s3://{bucket}/nowhere").complaint


@pytest.mark.parametrize("line", ON_S3)
def test_credentials_that_s3_does_not_know(
    pomona: Command, place: Path, bucket: str, strict: None, line: str
) -> None:
    told = pomona(*line.format(f"s3://{bucket}").split()).complaint
    assert f"s3://{bucket}" in told
    assert "InvalidAccessKeyId" in told
    assert "aws sts get-caller-identity" in told


def test_no_credentials_at_all(
    pomona: Command, place: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(place / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(place / "none"))
    told = pomona("ingest", f"s3://{bucket}", "lake").complaint
    assert "credentials" in told
    assert "AWS_PROFILE" in told


@pytest.mark.parametrize("line", ["ingest {} lake", "ingest photos {}", "status {}"])
def test_an_endpoint_where_nothing_listens_is_told_in_seconds(
    pomona: Command, place: Path, aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    started = time.monotonic()
    told = pomona(*line.format("s3://fruits").split()).complaint
    assert time.monotonic() - started < 20
    assert nobody in told
    assert "AWS_ENDPOINT_URL" in told
