"""Tests for `support.faults.faulty_proxy`: it injects the errors, and `streaming` reads and writes through it."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlparse

import boto3
import pytest

from streaming.images.fetch import fetch_image, prefetch_images
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile
from streaming.storage.range_reader import open_ranges
from streaming.storage.retry import process_retry_count
from streaming.storage.s3 import S3Storage, check_access
from support.faults.faulty_proxy import FAULTS, FaultyProxy

pytestmark = pytest.mark.s3

StartProxy = Callable[..., FaultyProxy]


@pytest.fixture
def start_proxy(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[StartProxy]:
    """Return a function that puts a proxy between this process and the moto server for the rest of the test."""
    started: list[FaultyProxy] = []

    def start(rate: float, **options: Any) -> FaultyProxy:
        proxy = FaultyProxy(aws["AWS_ENDPOINT_URL"], rate, **options).__enter__()
        started.append(proxy)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        storage = S3Storage()
        monkeypatch.setattr("streaming.storage.s3.s3_storage", lambda: storage)
        return proxy

    yield start
    for proxy in started:
        proxy.__exit__()


@pytest.fixture
def objects(bucket: str) -> dict[str, bytes]:
    contents = {f"s3a://{bucket}/Été/{n}.jpg": bytes([n]) * 1000 for n in range(40)}
    storage = S3Storage()
    for path, content in contents.items():
        storage.write(path, content)
    return contents


def get(proxy: FaultyProxy, path: str) -> tuple[int, bytes]:
    """Send one request without retries; return its status and body."""
    url = urlparse(proxy.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def test_each_kind_of_fault_is_injected(bucket: str, aws: dict[str, str]) -> None:
    direct = boto3.client("s3")
    direct.put_object(Bucket=bucket, Key="a.jpg", Body=b"1" * 1000)
    url = direct.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a.jpg"})
    path = url.removeprefix(aws["AWS_ENDPOINT_URL"])
    expected: dict[str, Any] = {"slow_down": 503, "error": 500, "delay": 200}
    for kind in FAULTS:
        proxy = FaultyProxy(aws["AWS_ENDPOINT_URL"], 1.0, kinds=[kind])
        with proxy:
            if kind in expected:
                assert get(proxy, path)[0] == expected[kind]
            else:
                with pytest.raises((http.client.HTTPException, ConnectionError)):
                    get(proxy, path)
        assert proxy.faults == {kind: 1}


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_reads_return_all_bytes_and_count_retries(
    start_proxy: StartProxy, objects: dict[str, bytes], rate: float
) -> None:
    proxy = start_proxy(rate, seed=1)
    files = [StoredFile(path, len(content), 0) for path, content in objects.items()]
    found = list(prefetch_images(files, 10_000))
    assert {one.file.path: one.content for one in found} == objects
    faults = proxy.faults.total() - proxy.faults["delay"]
    assert sum(one.retries for one in found) == faults
    assert faults or rate < 0.1  # with few requests, possibly none fails


def test_listings_writes_and_ranges_succeed_with_retries(
    start_proxy: StartProxy, objects: dict[str, bytes], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    proxy, before = start_proxy(0.3, seed=2), process_retry_count()
    check_access(f"s3a://{bucket}/Été")
    storage, paths = S3Storage(), sorted(objects)
    assert [file.path for file in storage.list(f"s3a://{bucket}")] == paths
    for path in paths[:20]:
        storage.write(path, b"another")
    for path in paths[:3]:
        assert open_ranges(path).read(4) == b"anot"
    for path in paths[:20]:
        storage.delete(path)
    assert [file.path for file in storage.list(f"s3a://{bucket}")] == paths[20:]
    assert not storage.exists(paths[0])
    assert storage.exists(paths[20])
    assert process_retry_count() - before == proxy.faults.total() - proxy.faults["delay"] > 10


def test_image_with_only_truncated_responses_is_unread(
    start_proxy: StartProxy, objects: dict[str, bytes]
) -> None:
    start_proxy(1.0, kinds=["cut"], only=lambda method, path: method == "GET" and ".jpg" in path)
    path = min(objects)
    fetched = fetch_image(StoredFile(path, 1000, 0), 10_000, retry_timeout=1)
    assert (fetched.outcome, fetched.content) == (Outcome.UNREAD, b"")


def test_object_deleted_before_read_is_reported_as_deleted(
    start_proxy: StartProxy, objects: dict[str, bytes], bucket: str
) -> None:
    path = min(objects)
    key = path.removeprefix(f"s3a://{bucket}/")

    def remove(method: str, path: str) -> None:
        if method == "GET" and path.endswith("/0.jpg"):
            direct.delete_object(Bucket=bucket, Key=key)

    direct = boto3.client("s3")
    start_proxy(0.0, before=remove)
    assert fetch_image(StoredFile(path, 1000, 0), 10_000).outcome is Outcome.DELETED
