"""S3 objects behind `streaming.storage.interface`, through boto3."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.exceptions import ClientError

from streaming.errors import ExternalError
from streaming.storage.interface import (
    StoredFile,
    TooManyBytesError,
    TransientError,
    UnlistedCallback,
)
from streaming.storage.retry import retry_transient
from streaming.storage.s3_client import FAIL_FAST, bucket_and_key, s3_client
from streaming.storage.s3_errors import is_busy, translate_s3_errors

T = TypeVar("T")

_PART_BYTES = 8 * 2**20
_MAX_PARTS = 10_000  # of a multipart upload, by the limits of S3


class S3Storage:
    """Objects on S3, or on a compatible server set by AWS_ENDPOINT_URL or a profile's ``endpoint_url``."""

    def __init__(self) -> None:
        self._client = s3_client()

    def list(
        self,
        prefix: str,
        on_unlisted: UnlistedCallback | None = None,
        *,
        follow_outside: bool = False,
        within: str | None = None,
        start_after: str = "",
    ) -> Iterator[StoredFile]:
        """Yield all objects below a prefix, ordered by key; FileNotFoundError if the bucket does not exist."""
        for found in self._list_objects(prefix, start_after):
            if not found.path.endswith("/"):
                yield found

    def _list_objects(self, prefix: str, start_after: str = "") -> Iterator[StoredFile]:
        """Yield all objects below a prefix, also the marker objects that S3A creates for folders."""
        bucket, key = bucket_and_key(prefix)
        folder = f"{key}/" if key else ""
        more = {"StartAfter": f"{folder}{start_after}"} if start_after else {}
        for page in self._list_pages(prefix, **more):
            for entry in page.get("Contents", ()):
                yield _stored_file(f"s3a://{bucket}/{entry['Key']}", entry, entry["Size"])

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield folder names; S3 returns 1,000 per page, regardless of the number of objects."""
        for page in self._list_pages(prefix, Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"].split("/")[-2]

    def _list_pages(self, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        bucket, key = bucket_and_key(prefix)
        parameters = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", **more}
        while True:
            page = call_with_retries(prefix, lambda: self._client.list_objects_v2(**parameters))
            yield page
            if not page.get("IsTruncated"):
                return
            parameters["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, path: str) -> StoredFile:
        """Return the length and modification time of one object."""
        bucket, key = bucket_and_key(path)
        found = call_with_retries(path, lambda: self._client.head_object(Bucket=bucket, Key=key))
        return _stored_file(path, found, found["ContentLength"])

    def exists(self, path: str) -> bool:
        """Return whether the listing contains exactly this key."""
        bucket, key = bucket_and_key(path)
        parameters = {"Bucket": bucket, "Prefix": key, "MaxKeys": 1}
        page = call_with_retries(path, lambda: self._client.list_objects_v2(**parameters))
        return any(entry["Key"] == key for entry in page.get("Contents", ()))

    def check_readable(self, path: str, within: str | None) -> None:
        """Request an object without reading its content."""
        bucket, key = bucket_and_key(path)
        call_with_retries(
            path, lambda: self._client.get_object(Bucket=bucket, Key=key)["Body"].close()
        )

    def read(self, path: str, within: str | None) -> bytes:
        """Return the content of one object; a truncated response is retried."""
        return retry_transient(lambda: self.read_once(path, within))

    def read_once(
        self, path: str, within: str | None = None, max_bytes: int | None = None
    ) -> bytes:
        """Return the content of one object, without retries beyond those of boto3."""
        bucket, key = bucket_and_key(path)
        with translate_s3_errors(path):
            found = self._client.get_object(Bucket=bucket, Key=key)
            if max_bytes is not None and found["ContentLength"] > max_bytes:
                found["Body"].close()
                raise TooManyBytesError(f"{path}: more than {max_bytes:,} bytes")
            content: bytes = found["Body"].read()
        return content

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Return the bytes of one object from `start` up to, not including, `stop`."""
        bucket, key = bucket_and_key(path)
        parameters = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{stop - 1}"}
        content: bytes = call_with_retries(
            path, lambda: self._client.get_object(**parameters)["Body"].read()
        )
        return content

    def read_end(self, path: str, size: int) -> tuple[bytes, int]:
        """Return the last `size` bytes of one object, or all if it has fewer, and its length, in one request."""
        bucket, key = bucket_and_key(path)

        def request() -> tuple[bytes, str]:
            try:
                found = self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes=-{size}")
            except ClientError as error:
                if error.response["Error"]["Code"] == "InvalidRange":  # the object is empty
                    return b"", ""
                raise
            return found["Body"].read(), found.get("ContentRange", "")

        content, content_range = call_with_retries(path, request)
        _, _, length = content_range.rpartition("/")
        return content, int(length) if length else len(content)

    def write(self, path: str, content: bytes) -> None:
        """Put an object."""
        bucket, key = bucket_and_key(path)
        call_with_retries(
            path, lambda: self._client.put_object(Bucket=bucket, Key=key, Body=content)
        )

    def upload_stream(self, chunks: Callable[[], Iterable[bytes]], path: str, size: int) -> None:
        """Put an object, as a multipart upload if it is large; memory is 10 parts of 8 MiB, or of `size` / 10,000.

        After an error, the multipart upload is aborted.
        """
        bucket, key = bucket_and_key(path)
        config = TransferConfig(
            multipart_chunksize=max(_PART_BYTES, math.ceil(size / _MAX_PARTS)),
            # The other client, which boto3 uses on some instances, has its own part size and memory.
            preferred_transfer_client="classic",
        )

        def send() -> None:
            """Make one attempt."""
            content = chunks()
            reader = _ChunkReader(content)
            try:
                with (
                    translate_s3_errors(path),
                    create_transfer_manager(self._client, config) as manager,
                ):
                    reader.transfer = manager.upload(io.BufferedReader(reader), bucket, key)
                    reader.transfer.result()
            except Exception:
                if reader.error is not None:  # not an error of S3
                    raise reader.error from None
                raise
            finally:
                if isinstance(content, Generator):  # it may hold files or threads
                    content.close()

        retry_transient(send)

    def delete(self, path: str) -> None:
        """Delete one object if it exists."""
        bucket, key = bucket_and_key(path)
        call_with_retries(path, lambda: self._client.delete_object(Bucket=bucket, Key=key))

    def delete_tree(self, prefix: str, last: str = "") -> None:
        """Delete all objects below a prefix, and `last` after the rest; also the marker objects of S3A for folders."""
        for found in self._list_objects(prefix):
            if found.path != last:
                self.delete(found.path)
        for path in (f"{prefix}/", last):
            if path:
                self.delete(path)

    def move_tree(self, prefix: str, destination: str) -> None:
        """Copy each object within S3, then delete the original."""
        for found in list(self.list(prefix)):
            self.copy(found.path, destination + found.path[len(prefix) :])
            self.delete(found.path)

    def copy(self, path: str, destination: str) -> None:
        """Copy one object within S3."""
        bucket, key = bucket_and_key(path)
        call_with_retries(
            path,
            lambda: self._client.copy({"Bucket": bucket, "Key": key}, *bucket_and_key(destination)),
        )


class _ChunkReader(io.RawIOBase):
    """Readable file over chunks, read by the threads of an upload.

    Once the upload has failed or was canceled, reading raises EOFError, so that the rest is not read.

    Attributes
    ----------
    transfer : s3transfer.futures.TransferFuture, optional
        The upload.
    error : Exception, optional
        Raised by the chunks.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.transfer: Any = None
        self.error: Exception | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; return their number, 0 at the end."""
        # The library reads on to the end after a failed part or Ctrl-C.
        if self.transfer is not None and self.transfer.done():
            raise EOFError("the upload has ended")
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
            except Exception as error:
                self.error = error
                raise
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


@cache
def s3_storage() -> S3Storage:
    """Return the instance shared by this process; its client reuses connections."""
    return S3Storage()


def call_with_retries(uri: str, request: Callable[[], T], max_attempts: int | None = None) -> T:
    """Send an idempotent request for one location, translate its errors and retry the transient ones."""

    def attempt() -> T:
        with translate_s3_errors(uri):
            return request()

    return retry_transient(attempt, max_attempts=max_attempts)


def check_access(uri: str) -> None:
    """List one key of a location, with short timeouts, so that a mistyped endpoint fails within seconds.

    Raises
    ------
    ExternalError
        When the endpoint does not respond.
    SourceError
        When there are no credentials, or S3 rejects them.
    FileNotFoundError, PermissionError
        When the bucket does not exist, or listing it is denied.
    """
    bucket, key = bucket_and_key(uri)
    parameters = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", "MaxKeys": 1}
    try:
        with translate_s3_errors(uri):
            s3_client(FAIL_FAST).list_objects_v2(**parameters)
    except TransientError as error:
        if is_busy(error.__cause__):
            call_with_retries(uri, lambda: s3_client().list_objects_v2(**parameters))
            return
        raise ExternalError(f"{error}: check the network and AWS_ENDPOINT_URL") from error


def _stored_file(path: str, entry: dict[str, Any], size: int) -> StoredFile:
    return StoredFile(path, size, int(entry["LastModified"].timestamp() * 1000))
