"""Tests for `streaming.storage.s3_errors`: errors of S3 are reported in one line and within seconds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from streaming.errors import ExternalError, LakeError, PomonaError, SourceError
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings
from streaming.lake.layout import Lake
from streaming.sources.listing import Source
from streaming.storage.interface import TransientError
from streaming.storage.s3 import S3Storage, check_access
from support.aws.credentials import hide_credentials
from support.aws.moto_users import create_user, enforce_iam

pytestmark = pytest.mark.s3


@pytest.fixture
def reader(aws: dict[str, str], bucket: str) -> Iterator[dict[str, str]]:
    """Return a user who can only read `bucket`, and enforce IAM while the test runs."""
    user = create_user(f"reader-{bucket}", ["s3:ListBucket", "s3:GetObject"], [bucket])
    boto3.client("s3").create_bucket(
        Bucket=f"private-{bucket}",
        CreateBucketConfiguration={"LocationConstraint": aws["AWS_REGION"]},
    )
    with enforce_iam(aws["AWS_ENDPOINT_URL"]):
        yield user


def assert_one_line(error: BaseException, *expected: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert not [part for part in expected if part not in text], text


def set_credentials(monkeypatch: pytest.MonkeyPatch, user: dict[str, str]) -> None:
    for name, value in user.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("operation", ["stat", "read_once"])
def test_missing_object_raises_file_not_found(bucket: str, operation: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{bucket}/missing.jpg"):
        getattr(S3Storage(), operation)(f"s3a://{bucket}/missing.jpg")
    with pytest.raises(FileNotFoundError, match=f"{bucket}/missing.jpg"):
        S3Storage().read(f"s3a://{bucket}/missing.jpg", None)


def test_archived_object_raises_permission_error(bucket: str) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key="a.jpg", Body=b"1", StorageClass="GLACIER")
    with pytest.raises(PermissionError, match="InvalidObjectState"):
        S3Storage().read(f"s3a://{bucket}/a.jpg", None)


def test_source_in_missing_bucket_is_named(aws: dict[str, str]) -> None:
    with pytest.raises(SourceError) as caught:
        Source.at("s3://no-such-bucket/fruits").validate(require_images=True)
    assert_one_line(caught.value, "s3a://no-such-bucket/fruits", "no such bucket", "check the name")


@pytest.mark.parametrize("check", [Lake.validate, Lake.ensure_writable_location])
def test_lake_in_missing_bucket_is_named(aws: dict[str, str], check: Any) -> None:
    with pytest.raises(LakeError) as caught:
        check(Lake.at("s3://no-such-bucket/lake"))
    assert_one_line(caught.value, "s3a://no-such-bucket/lake", "create the bucket")


def test_prefix_without_tables_is_not_a_lake(bucket: str) -> None:
    with pytest.raises(LakeError, match="is not a lake"):
        Lake.at(f"s3://{bucket}/fruits").validate()


def test_empty_source_is_named(bucket: str) -> None:
    with pytest.raises(SourceError) as caught:
        Source.at(f"s3://{bucket}/fruits").validate(require_images=True)
    assert_one_line(caught.value, f"s3a://{bucket}/fruits", "contains no images")


def test_invalid_bucket_name_is_reported(aws: dict[str, str]) -> None:
    with pytest.raises(SourceError) as caught:
        check_access("s3a://My Bucket!/fruits")
    assert_one_line(caught.value, "My Bucket!", "invalid bucket or object name")


def test_reader_can_read(reader: dict[str, str], bucket: str, monkeypatch: Any) -> None:
    set_credentials(monkeypatch, reader)
    check_access(f"s3a://{bucket}/fruits")
    assert not list(S3Storage().list(f"s3a://{bucket}"))


def test_unknown_access_key_is_reported_without_secret(
    reader: dict[str, str], bucket: str, monkeypatch: Any
) -> None:
    set_credentials(monkeypatch, reader | {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"})
    with pytest.raises(SourceError) as caught:
        Source.at(f"s3://{bucket}").validate(require_images=False)
    assert_one_line(caught.value, bucket, "InvalidAccessKeyId", "AWS_PROFILE")
    assert reader["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_denied_operations_name_required_permission(
    reader: dict[str, str], bucket: str, monkeypatch: Any
) -> None:
    set_credentials(monkeypatch, reader)
    with pytest.raises(PermissionError, match="AccessDenied"):
        S3Storage().write(f"s3a://{bucket}/a.jpg", b"1")
    with pytest.raises(SourceError) as source:
        Source.at(f"s3://private-{bucket}").validate(require_images=False)
    assert_one_line(source.value, f"private-{bucket}", "access denied", "s3:ListBucket")
    with pytest.raises(LakeError) as lake:
        Lake.at(f"s3://private-{bucket}/lake").ensure_writable_location()
    assert_one_line(lake.value, f"private-{bucket}", "access denied", "s3:PutObject")


def test_missing_credentials_are_reported(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide_credentials(monkeypatch, tmp_path)
    with pytest.raises(SourceError) as caught:
        ingest(f"s3://{bucket}/fruits", str(tmp_path / "lake"), IngestSettings(once=True))
    assert_one_line(caught.value, "Unable to locate credentials", "AWS_PROFILE")


@pytest.mark.parametrize("local", ["source", "lake"])
def test_unreachable_endpoint_fails_within_seconds(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, local: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    locations = {"source": "s3://fruits/images", "lake": "s3://fruits/lake"}
    locations[local] = str(tmp_path / local)
    if local == "source":
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "a.jpg").write_bytes(b"1")
    started = time.monotonic()
    with pytest.raises(PomonaError) as caught:
        ingest(locations["source"], locations["lake"], IngestSettings(once=True))
    assert time.monotonic() - started < 15
    assert_one_line(caught.value, "s3a://fruits/", endpoint, "AWS_ENDPOINT_URL")
    assert isinstance(caught.value, ExternalError)


def test_truncated_response_is_transient(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class TruncatingHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"truncated")

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), TruncatingHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(TransientError) as caught:
            S3Storage().read_once("s3a://fruits/a.jpg")
        server.shutdown()
    assert_one_line(caught.value, "s3a://fruits/a.jpg")
