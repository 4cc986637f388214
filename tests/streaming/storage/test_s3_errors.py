"""Tests for `streaming.storage.s3_errors`: whatever S3 refuses is one line, within seconds."""

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
from support.moto_users import create_user, enforce_iam

pytestmark = pytest.mark.s3


@pytest.fixture
def reader(aws: dict[str, str], bucket: str) -> Iterator[dict[str, str]]:
    """A user who may read `bucket` alone, while the stand-in asks everyone who they are."""
    user = create_user(f"reader-{bucket}", ["s3:ListBucket", "s3:GetObject"], [bucket])
    boto3.client("s3").create_bucket(
        Bucket=f"private-{bucket}",
        CreateBucketConfiguration={"LocationConstraint": aws["AWS_REGION"]},
    )
    with enforce_iam(aws["AWS_ENDPOINT_URL"]):
        yield user


def one_line(error: BaseException, *words: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert not [word for word in words if word not in text], text


def become(monkeypatch: pytest.MonkeyPatch, user: dict[str, str]) -> None:
    for name, value in user.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("ask", [S3Storage.stat, S3Storage.read])
def test_an_object_that_is_gone_is_a_file_not_found(bucket: str, ask: Any) -> None:
    with pytest.raises(FileNotFoundError, match=f"{bucket}/gone.jpg"):
        ask(S3Storage(), f"s3a://{bucket}/gone.jpg")


def test_an_archived_object_may_not_be_read(bucket: str) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key="a.jpg", Body=b"1", StorageClass="GLACIER")
    with pytest.raises(PermissionError, match="InvalidObjectState"):
        S3Storage().read(f"s3a://{bucket}/a.jpg")


def test_a_source_in_a_missing_bucket_is_named(aws: dict[str, str]) -> None:
    with pytest.raises(SourceError) as caught:
        Source.at("s3://no-such-bucket/fruits").validate(require_images=True)
    one_line(caught.value, "s3a://no-such-bucket/fruits", "no such bucket", "check the name")


@pytest.mark.parametrize("check", [Lake.validate, Lake.ensure_writable_location])
def test_a_lake_in_a_missing_bucket_is_named(aws: dict[str, str], check: Any) -> None:
    with pytest.raises(LakeError) as caught:
        check(Lake.at("s3://no-such-bucket/lake"))
    one_line(caught.value, "s3a://no-such-bucket/lake", "create the bucket")


def test_a_prefix_without_tables_is_no_lake(bucket: str) -> None:
    with pytest.raises(LakeError, match="is not a lake"):
        Lake.at(f"s3://{bucket}/fruits").validate()


def test_an_empty_source_is_named(bucket: str) -> None:
    with pytest.raises(SourceError) as caught:
        Source.at(f"s3://{bucket}/fruits").validate(require_images=True)
    one_line(caught.value, f"s3a://{bucket}/fruits", "contains no images")


def test_a_name_that_no_bucket_can_have(aws: dict[str, str]) -> None:
    with pytest.raises(SourceError) as caught:
        check_access("s3a://My Bucket!/fruits")
    one_line(caught.value, "My Bucket!", "invalid bucket or object name")


def test_who_may_read_reads(reader: dict[str, str], bucket: str, monkeypatch: Any) -> None:
    become(monkeypatch, reader)
    check_access(f"s3a://{bucket}/fruits")
    assert not list(S3Storage().list(f"s3a://{bucket}"))


def test_wrong_credentials(reader: dict[str, str], bucket: str, monkeypatch: Any) -> None:
    become(monkeypatch, reader | {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"})
    with pytest.raises(SourceError) as caught:
        Source.at(f"s3://{bucket}").validate(require_images=False)
    one_line(caught.value, bucket, "InvalidAccessKeyId", "AWS_PROFILE")
    assert reader["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_what_may_not_be_listed_or_written(
    reader: dict[str, str], bucket: str, monkeypatch: Any
) -> None:
    become(monkeypatch, reader)
    with pytest.raises(PermissionError, match="AccessDenied"):
        S3Storage().write(f"s3a://{bucket}/a.jpg", b"1")
    with pytest.raises(SourceError) as source:
        Source.at(f"s3://private-{bucket}").validate(require_images=False)
    one_line(source.value, f"private-{bucket}", "access denied", "s3:ListBucket")
    with pytest.raises(LakeError) as lake:
        Lake.at(f"s3://private-{bucket}/lake").ensure_writable_location()
    one_line(lake.value, f"private-{bucket}", "access denied", "s3:PutObject")


def test_no_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    with pytest.raises(SourceError) as caught:
        ingest(f"s3://{bucket}/fruits", str(tmp_path / "lake"), IngestSettings(once=True))
    one_line(caught.value, "Unable to locate credentials", "AWS_PROFILE")


@pytest.mark.parametrize("local", ["source", "lake"])
def test_an_endpoint_where_nothing_listens_shows_in_seconds(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, local: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    ends = {"source": "s3://fruits/images", "lake": "s3://fruits/lake"}
    ends[local] = str(tmp_path / local)
    if local == "source":
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "a.jpg").write_bytes(b"1")
    started = time.monotonic()
    with pytest.raises(PomonaError) as caught:
        ingest(ends["source"], ends["lake"], IngestSettings(once=True))
    assert time.monotonic() - started < 15
    one_line(caught.value, "s3a://fruits/", endpoint, "AWS_ENDPOINT_URL")
    assert isinstance(caught.value, ExternalError)


def test_a_connection_lost_halfway_is_a_fault_that_may_pass(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Halfway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Halfway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(TransientError) as caught:
            S3Storage().read_once("s3a://fruits/a.jpg")
        server.shutdown()
    one_line(caught.value, "s3a://fruits/a.jpg")
