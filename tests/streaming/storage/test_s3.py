"""Tests for `streaming.storage.s3` and the S3A settings, against a moto server; plain boto3 checks the results."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from streaming.errors import SourceError
from streaming.spark.s3a_settings import s3a_settings
from streaming.storage.interface import StoredFile, TransientError
from streaming.storage.open import open_storage
from streaming.storage.s3 import S3Storage
from streaming.storage.s3_client import s3_client

pytestmark = pytest.mark.s3

# Keys with special characters of URIs, query strings or shells.
KEYS = (
    "Été/Crème brûlée 50%/a+b c.jpg",
    "x%20y/%2F.jpg",
    "My fruit/a#b?c=d&e.jpg",
    "[x] {a} *.jpg",
    "a\\b/'quoted' \"twice\".jpg",
    "双/👍.png",
)


@pytest.fixture
def client(aws: dict[str, str]) -> Any:
    return boto3.client("s3")


@pytest.fixture
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remove all AWS settings; return the path of the config file that is used."""
    for name in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION", "REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path / "config"


def test_keys_with_special_characters_are_listed(bucket: str, client: Any) -> None:
    for key in KEYS:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    listed = {file.path: file.length for file in S3Storage().list(f"s3a://{bucket}")}
    assert listed == {f"s3a://{bucket}/{key}": len(key.encode()) for key in KEYS}


@pytest.mark.parametrize("key", KEYS)
def test_object_is_written_listed_read_and_deleted(bucket: str, client: Any, key: str) -> None:
    path, storage = f"s3a://{bucket}/{key}", S3Storage()
    storage.write(path, b"fruit")
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert storage.read(path, None) == b"fruit"
    assert storage.stat(path) == next(storage.list(f"s3a://{bucket}"))
    storage.delete(path)
    storage.delete(path)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_stat_returns_length_and_time_of_s3(bucket: str, client: Any) -> None:
    client.put_object(Bucket=bucket, Key="a/b.jpg", Body=b"12345")
    modified = client.head_object(Bucket=bucket, Key="a/b.jpg")["LastModified"]
    expected = StoredFile(f"s3a://{bucket}/a/b.jpg", 5, round(modified.timestamp()) * 1000)
    assert S3Storage().stat(f"s3a://{bucket}/a/b.jpg") == expected


def test_folder_markers_are_not_listed(bucket: str, client: Any) -> None:
    for key in ("x/", "x/y/", "x/y/a.jpg"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    listed = [file.path for file in S3Storage().list(f"s3a://{bucket}/x")]
    assert listed == [f"s3a://{bucket}/x/y/a.jpg"]


def test_prefix_matches_whole_folder_names(bucket: str, client: Any) -> None:
    for key in ("fruit/a.jpg", "fruits/a.jpg", "fruit.jpg"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    listed = [file.path for file in S3Storage().list(f"s3a://{bucket}/fruit")]
    assert listed == [f"s3a://{bucket}/fruit/a.jpg"]
    assert not list(S3Storage().list(f"s3a://{bucket}/nothing"))


def test_folders_directly_below_prefix_are_listed(bucket: str, client: Any) -> None:
    for key in ("x/", "x/y/", "x/y/a.jpg", "x/My folder/b/c.jpg", "x/d.jpg", "xy/z/a.jpg"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert list(S3Storage().list_folders(f"s3a://{bucket}/x")) == ["My folder", "y"]
    assert list(S3Storage().list_folders(f"s3a://{bucket}/nothing")) == []


@pytest.mark.long
def test_listing_has_several_pages(bucket: str, client: Any) -> None:
    keys = [f"many/{number:04}.jpg" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        put = partial(client.put_object, Bucket=bucket, Body=b"")
        list(pool.map(lambda key: put(Key=key), keys))
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1000
    listed = [file.path for file in S3Storage().list(f"s3a://{bucket}/many")]
    assert listed == [f"s3a://{bucket}/{key}" for key in keys]
    S3Storage().delete_tree(f"s3a://{bucket}/many")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_delete_tree_keeps_siblings(bucket: str, client: Any) -> None:
    for key in ("old/", "old/a", "old/b/c d+e%", "older/a", "old.txt"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    S3Storage().delete_tree(f"s3a://{bucket}/old")
    remaining = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert remaining == ["old.txt", "older/a"]


def test_move_tree_keeps_siblings(bucket: str, client: Any) -> None:
    for key in ("old/a", "old/b/c d+e%", "older/a"):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    S3Storage().move_tree(f"s3a://{bucket}/old", f"s3a://{bucket}/new")
    remaining = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert remaining == ["new/a", "new/b/c d+e%", "older/a"]
    assert S3Storage().read(f"s3a://{bucket}/new/b/c d+e%", None) == b"old/b/c d+e%"


MIB = bytes(range(256)) * 4096


def assert_nothing_is_left(client: Any, bucket: str) -> None:
    """Assert that a bucket has no object and no unfinished multipart upload."""
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


@pytest.mark.parametrize(
    ("chunks", "etag_end"),
    [
        ([], 'e"'),
        ([b"", b"path\n", b"1\n"], '"'),
        ([b"path\n", MIB * 5, b"", *[MIB] * 7, b"2\n"], '-2"'),  # 12 MiB in parts of 8
    ],
)
def test_stream_is_uploaded_in_parts(
    bucket: str, client: Any, chunks: list[bytes], etag_end: str
) -> None:
    content = b"".join(chunks)
    S3Storage().upload_stream(lambda: chunks, f"s3a://{bucket}/a b/large", len(content))
    stored = client.get_object(Bucket=bucket, Key="a b/large")
    assert stored["Body"].read() == content
    assert stored["ETag"].endswith(etag_end)
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_parts_of_large_stream_are_larger(bucket: str, client: Any) -> None:
    # Of this size, S3 would reject part 10,001 of 8 MiB.
    S3Storage().upload_stream(lambda: [MIB * 8] * 3, f"s3a://{bucket}/a", 10_000 * len(MIB) * 16)
    assert client.head_object(Bucket=bucket, Key="a")["ETag"].endswith('-2"')


@pytest.mark.parametrize("error", [FileNotFoundError("piece 3"), SourceError("piece 3")])
def test_error_of_chunks_aborts_multipart_upload(
    bucket: str, client: Any, error: Exception
) -> None:
    attempts = 0

    def chunks() -> Iterator[bytes]:
        nonlocal attempts
        attempts += 1
        yield from [MIB] * 20
        raise error

    with pytest.raises(type(error), match="piece 3"):
        S3Storage().upload_stream(chunks, f"s3a://{bucket}/a", 30 * len(MIB))
    assert attempts == 1
    assert_nothing_is_left(client, bucket)


def test_stream_is_read_again_after_transient_error(bucket: str, client: Any) -> None:
    attempts = 0

    def chunks() -> Iterator[bytes]:
        nonlocal attempts
        attempts += 1
        yield from [MIB] * 9
        if attempts == 1:
            raise TransientError("a lost connection")
        yield MIB

    S3Storage().upload_stream(chunks, f"s3a://{bucket}/a", 10 * len(MIB))
    assert client.head_object(Bucket=bucket, Key="a")["ContentLength"] == 10 * len(MIB)
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


@pytest.mark.parametrize("error", [PermissionError, KeyboardInterrupt])
def test_failed_or_interrupted_upload_stops_reading(
    bucket: str, client: Any, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    storage, read = S3Storage(), 0

    def chunks() -> Iterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield MIB

    def fail(**_: Any) -> None:
        if error is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "UploadPart")

    storage._client.meta.events.register("before-call.s3.UploadPart", fail)
    with pytest.raises(error):
        storage.upload_stream(chunks, f"s3a://{bucket}/a", 1000 * len(MIB))
    assert read < 300  # 10 parts of 8 MiB wait for their requests
    assert_nothing_is_left(client, bucket)


def test_s3_storage_is_shared_by_process(aws: dict[str, str]) -> None:
    assert open_storage("s3a://fruits/a") is open_storage("s3a://other")


PROVIDER = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"


def test_s3a_settings_contain_no_secrets(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "whisper")
    text = str(s3a_settings())
    assert not [secret for secret in ("AKIAEXAMPLE", "hush", "whisper") if secret in text]


def test_s3a_uses_endpoint_of_environment(aws: dict[str, str]) -> None:
    assert s3a_settings() == {
        "fs.s3a.aws.credentials.provider": PROVIDER,
        "fs.s3a.endpoint": aws["AWS_ENDPOINT_URL"],
        "fs.s3a.endpoint.region": aws["AWS_REGION"],
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
    }


def test_s3a_uses_endpoint_of_profile(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_settings.write_text("[profile fruits]\nendpoint_url = https://s3.example:9443\n")
    monkeypatch.setenv("AWS_PROFILE", "fruits")
    conf = s3a_settings()
    assert conf["fs.s3a.endpoint"] == "https://s3.example:9443"
    assert conf["fs.s3a.connection.ssl.enabled"] == "true"
    assert (
        conf["fs.s3a.endpoint.region"] == "us-east-1"
    )  # other S3 servers require a region for signatures


@pytest.mark.parametrize("region", [None, "eu-west-3", "us-east-1", "cn-north-1"])
def test_s3a_settings_for_aws_contain_region_only(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch, region: str | None
) -> None:
    if region:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    assert s3a_settings() == {
        "fs.s3a.aws.credentials.provider": PROVIDER,
        "fs.s3a.endpoint.region": region or "us-east-1",  # the default of boto3 too
    }


def test_vpc_endpoint_is_used(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = "https://bucket.vpce-1a2b.s3.eu-west-3.vpce.amazonaws.com"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    assert s3_client().meta.endpoint_url == endpoint
    assert s3a_settings()["fs.s3a.endpoint"] == endpoint


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AWS_PROFILE", "absent", "absent"),
        ("AWS_ENDPOINT_URL", "localhost:9000", "localhost:9000"),
        ("AWS_SECRET_ACCESS_KEY", None, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_invalid_aws_settings_are_named(
    aws: dict[str, str], monkeypatch: Any, name: str, value: str | None, expected: str
) -> None:
    if value:
        monkeypatch.setenv(name, value)
    else:
        monkeypatch.delenv(name)
    with pytest.raises(SourceError) as caught:
        s3_client()
    assert expected in str(caught.value).splitlines()[-1]
