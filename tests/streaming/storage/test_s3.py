"""Tests for `streaming.storage.s3`, over HTTP: plain boto3 puts and looks, a stand-in answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from streaming.errors import SourceError
from streaming.spark.s3a_settings import s3a_settings
from streaming.storage.interface import StoredFile
from streaming.storage.open import open_storage
from streaming.storage.s3 import S3Storage
from streaming.storage.s3_client import s3_client

pytestmark = pytest.mark.s3

# Each of these means something to a URI, a query or a shell.
KEYS = (
    "Été/Crème brûlée 50%/a+b c.jpg",
    "x%20y/%2F.jpg",
    "My fruit/a#b?c=d&e.jpg",
    "[x] {a} *.jpg",
    "a\\b/'quoted' \"twice\".jpg",
    "双/👍.png",
)


@pytest.fixture
def plain(aws: dict[str, str]) -> Any:
    return boto3.client("s3")


@pytest.fixture
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no AWS settings but the file that is returned."""
    for name in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION", "REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path / "config"


def test_keys_are_listed_as_a_person_wrote_them(bucket: str, plain: Any) -> None:
    for key in KEYS:
        plain.put_object(Bucket=bucket, Key=key, Body=key.encode())
    listed = {file.path: file.length for file in S3Storage().list(f"s3a://{bucket}")}
    assert listed == {f"s3a://{bucket}/{key}": len(key.encode()) for key in KEYS}


@pytest.mark.parametrize("key", KEYS)
def test_an_object_is_written_seen_read_and_deleted_under_its_own_name(
    bucket: str, plain: Any, key: str
) -> None:
    path, storage = f"s3a://{bucket}/{key}", S3Storage()
    storage.write(path, b"fruit")
    assert [entry["Key"] for entry in plain.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert storage.read(path) == b"fruit"
    assert storage.stat(path) == next(storage.list(f"s3a://{bucket}"))
    storage.delete(path)
    storage.delete(path)
    assert plain.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_length_and_time_are_those_that_s3_tells(bucket: str, plain: Any) -> None:
    plain.put_object(Bucket=bucket, Key="a/b.jpg", Body=b"12345")
    told = plain.head_object(Bucket=bucket, Key="a/b.jpg")["LastModified"]
    expected = StoredFile(f"s3a://{bucket}/a/b.jpg", 5, round(told.timestamp()) * 1000)
    assert S3Storage().stat(f"s3a://{bucket}/a/b.jpg") == expected


def test_markers_of_folders_are_no_files(bucket: str, plain: Any) -> None:
    for key in ("x/", "x/y/", "x/y/a.jpg"):
        plain.put_object(Bucket=bucket, Key=key, Body=b"")
    listed = [file.path for file in S3Storage().list(f"s3a://{bucket}/x")]
    assert listed == [f"s3a://{bucket}/x/y/a.jpg"]


def test_a_prefix_ends_at_a_slash(bucket: str, plain: Any) -> None:
    for key in ("fruit/a.jpg", "fruits/a.jpg", "fruit.jpg"):
        plain.put_object(Bucket=bucket, Key=key, Body=b"")
    listed = [file.path for file in S3Storage().list(f"s3a://{bucket}/fruit")]
    assert listed == [f"s3a://{bucket}/fruit/a.jpg"]
    assert not list(S3Storage().list(f"s3a://{bucket}/nothing"))


def test_a_listing_goes_on_past_the_first_page(bucket: str, plain: Any) -> None:
    keys = [f"many/{number:04}.jpg" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        put = partial(plain.put_object, Bucket=bucket, Body=b"")
        list(pool.map(lambda key: put(Key=key), keys))
    assert plain.list_objects_v2(Bucket=bucket)["KeyCount"] == 1000
    listed = [file.path for file in S3Storage().list(f"s3a://{bucket}/many")]
    assert listed == [f"s3a://{bucket}/{key}" for key in keys]
    S3Storage().delete_tree(f"s3a://{bucket}/many")
    assert plain.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_tree_is_deleted_and_its_neighbours_stay(bucket: str, plain: Any) -> None:
    for key in ("old/", "old/a", "old/b/c d+e%", "older/a", "old.txt"):
        plain.put_object(Bucket=bucket, Key=key, Body=b"")
    S3Storage().delete_tree(f"s3a://{bucket}/old")
    left = [entry["Key"] for entry in plain.list_objects_v2(Bucket=bucket)["Contents"]]
    assert left == ["old.txt", "older/a"]


def test_a_tree_is_moved_and_its_neighbours_stay(bucket: str, plain: Any) -> None:
    for key in ("old/a", "old/b/c d+e%", "older/a"):
        plain.put_object(Bucket=bucket, Key=key, Body=key.encode())
    S3Storage().move_tree(f"s3a://{bucket}/old", f"s3a://{bucket}/new")
    left = [entry["Key"] for entry in plain.list_objects_v2(Bucket=bucket)["Contents"]]
    assert left == ["new/a", "new/b/c d+e%", "older/a"]
    assert S3Storage().read(f"s3a://{bucket}/new/b/c d+e%") == b"old/b/c d+e%"


def test_a_local_file_is_uploaded_in_parts_where_it_is_large(
    bucket: str, plain: Any, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (9 * 4096))  # 9 MiB, more than one part
    S3Storage().upload(large, f"s3a://{bucket}/a b/large")
    stored = plain.get_object(Bucket=bucket, Key="a b/large")
    assert stored["Body"].read() == large.read_bytes()
    assert stored["ETag"].endswith('-2"')


def test_a_missing_local_file_is_not_taken_for_a_fault_of_s3(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        S3Storage().upload(tmp_path / "absent", f"s3a://{bucket}/a")


def test_one_storage_serves_all_of_s3_in_a_process(aws: dict[str, str]) -> None:
    assert open_storage("s3a://fruits/a") is open_storage("s3a://other")


PROVIDER = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"


def test_spark_gets_no_secret(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "whisper")
    text = str(s3a_settings())
    assert not [secret for secret in ("AKIAEXAMPLE", "hush", "whisper") if secret in text]


def test_s3a_goes_to_the_endpoint_of_the_environment(aws: dict[str, str]) -> None:
    assert s3a_settings() == {
        "fs.s3a.aws.credentials.provider": PROVIDER,
        "fs.s3a.endpoint": aws["AWS_ENDPOINT_URL"],
        "fs.s3a.endpoint.region": aws["AWS_REGION"],
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
    }


def test_s3a_goes_to_the_endpoint_of_the_profile(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_settings.write_text("[profile fruits]\nendpoint_url = https://s3.example:9443\n")
    monkeypatch.setenv("AWS_PROFILE", "fruits")
    conf = s3a_settings()
    assert conf["fs.s3a.endpoint"] == "https://s3.example:9443"
    assert conf["fs.s3a.connection.ssl.enabled"] == "true"
    assert conf["fs.s3a.endpoint.region"] == "us-east-1"  # stand-ins want one to sign with


@pytest.mark.parametrize("region", [None, "eu-west-3", "us-east-1", "cn-north-1"])
def test_for_aws_itself_s3a_is_told_the_region_and_nothing_else(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch, region: str | None
) -> None:
    if region:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    assert s3a_settings() == {
        "fs.s3a.aws.credentials.provider": PROVIDER,
        "fs.s3a.endpoint.region": region or "us-east-1",  # which boto3 asks first, too
    }


def test_an_endpoint_inside_a_private_network_of_aws_is_kept(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = "https://bucket.vpce-1a2b.s3.eu-west-3.vpce.amazonaws.com"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    assert s3_client().meta.endpoint_url == endpoint
    assert s3a_settings()["fs.s3a.endpoint"] == endpoint


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("AWS_PROFILE", "absent", "absent"),
        ("AWS_ENDPOINT_URL", "localhost:9000", "localhost:9000"),
        ("AWS_SECRET_ACCESS_KEY", None, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_settings_that_boto3_cannot_use(
    aws: dict[str, str], monkeypatch: Any, name: str, value: str | None, word: str
) -> None:
    if value:
        monkeypatch.setenv(name, value)
    else:
        monkeypatch.delenv(name)
    with pytest.raises(SourceError) as caught:
        s3_client()
    assert word in str(caught.value).splitlines()[-1]
