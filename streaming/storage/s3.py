"""S3 objects behind `streaming.storage.interface`, through boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from streaming.errors import ExternalError
from streaming.storage.interface import StoredFile, TransientError
from streaming.storage.retry import retry_transient
from streaming.storage.s3_client import BRISK, s3_client, split
from streaming.storage.s3_errors import is_busy, translated

T = TypeVar("T")


class S3Storage:
    """Objects of S3, or of a stand-in named by AWS_ENDPOINT_URL or a profile's ``endpoint_url``."""

    def __init__(self) -> None:
        self._client = s3_client()

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """All objects below a prefix, ordered by key; FileNotFoundError without the bucket."""
        bucket, key = split(prefix)
        wanted = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""}
        while True:
            page = call_with_retries(prefix, lambda: self._client.list_objects_v2(**wanted))
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):
                    yield _stored(f"s3a://{bucket}/{entry['Key']}", entry, entry["Size"])
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, path: str) -> StoredFile:
        """Length and time of one object."""
        bucket, key = split(path)
        found = call_with_retries(path, lambda: self._client.head_object(Bucket=bucket, Key=key))
        return _stored(path, found, found["ContentLength"])

    def exists(self, path: str) -> bool:
        """Whether the listing has this very key."""
        bucket, key = split(path)
        asked = {"Bucket": bucket, "Prefix": key, "MaxKeys": 1}
        page = call_with_retries(path, lambda: self._client.list_objects_v2(**asked))
        return any(entry["Key"] == key for entry in page.get("Contents", ()))

    def check_readable(self, path: str) -> None:
        """Ask for an object, and read nothing of it."""
        bucket, key = split(path)
        call_with_retries(
            path, lambda: self._client.get_object(Bucket=bucket, Key=key)["Body"].close()
        )

    def read(self, path: str) -> bytes:
        """All bytes of one object, asked for again where only some of them come."""
        return retry_transient(lambda: self.read_once(path))

    def read_once(self, path: str) -> bytes:
        """All bytes of one object."""
        bucket, key = split(path)
        with translated(path):
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """The bytes of one object from `start` up to `stop`."""
        bucket, key = split(path)
        wanted = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{stop - 1}"}
        content: bytes = call_with_retries(
            path, lambda: self._client.get_object(**wanted)["Body"].read()
        )
        return content

    def write(self, path: str, content: bytes) -> None:
        """Put an object."""
        bucket, key = split(path)
        call_with_retries(
            path, lambda: self._client.put_object(Bucket=bucket, Key=key, Body=content)
        )

    def upload(self, local: Path, path: str) -> None:
        """Put a local file, in parts where it is large."""
        bucket, key = split(path)

        def send() -> None:
            with local.open("rb") as content:
                self._client.upload_fileobj(content, bucket, key)

        local.open("rb").close()  # what is missing here is no fault of S3
        call_with_retries(path, send)

    def delete(self, path: str) -> None:
        """Delete one object, if it is there."""
        bucket, key = split(path)
        call_with_retries(path, lambda: self._client.delete_object(Bucket=bucket, Key=key))

    def delete_tree(self, prefix: str) -> None:
        """Delete all objects below a prefix, and the one that S3A puts for an empty folder."""
        for found in self.list(prefix):
            self.delete(found.path)
        self.delete(f"{prefix}/")

    def move_tree(self, prefix: str, to: str) -> None:
        """Copy each object, within S3, and delete it."""
        for found in list(self.list(prefix)):
            self.copy(found.path, to + found.path[len(prefix) :])
            self.delete(found.path)

    def copy(self, path: str, to: str) -> None:
        """Copy one object, within S3."""
        bucket, key = split(path)
        call_with_retries(
            path, lambda: self._client.copy({"Bucket": bucket, "Key": key}, *split(to))
        )


@cache
def s3_storage() -> S3Storage:
    """The one of this process, whose client keeps its connections."""
    return S3Storage()


def call_with_retries(uri: str, request: Callable[[], T]) -> T:
    """Send a request about one location that may be repeated, as often as patience lasts."""

    def ask() -> T:
        with translated(uri):
            return request()

    return retry_transient(ask)


def check_access(uri: str) -> None:
    """Ask a location for one name, with little patience where nobody answers: what is mistyped shows in seconds.

    Raises
    ------
    ExternalError
        When nothing answers.
    SourceError
        When there are no credentials, or S3 refuses them.
    FileNotFoundError, PermissionError
        When there is no such bucket, or it may not be listed.
    """
    bucket, key = split(uri)
    wanted = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", "MaxKeys": 1}
    try:
        with translated(uri):
            s3_client(BRISK).list_objects_v2(**wanted)
    except TransientError as fault:
        if is_busy(fault.__cause__):
            call_with_retries(uri, lambda: s3_client().list_objects_v2(**wanted))
            return
        raise ExternalError(f"{fault}: check the network and AWS_ENDPOINT_URL") from fault


def _stored(path: str, entry: dict[str, Any], size: int) -> StoredFile:
    return StoredFile(path, size, int(entry["LastModified"].timestamp() * 1000))
