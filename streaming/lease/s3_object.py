"""The lease object on S3: read it, and write it only if no other process has."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from streaming.errors import LeaseError
from streaming.lease.holder import SCHEMA, Holder
from streaming.storage.documents import InvalidDocumentError, check_document, parse_document
from streaming.storage.s3 import call_with_retries
from streaming.storage.s3_client import LEASE_CONFIG, bucket_and_key, s3_client
from streaming.storage.s3_errors import PRECONDITION_FAILED

if TYPE_CHECKING:
    from streaming.lake.layout import Lake

_CLOCK_RESOLUTION = 2.0  # seconds: S3 rounds both times to whole seconds
_MAX_ATTEMPTS = 6
# What the lease of a lake on S3 adds to the owner; the values are those of a lease that was released.
_S3_FIELDS = {"term": 0.0, "released": True, "checkpoint": "ingest"}
_S3_SCHEMA = {"term": float, "released": bool, "checkpoint": str}
_CONDITION_FAILED = PRECONDITION_FAILED | {"ConditionalRequestConflict", "409"}


@dataclass(frozen=True)
class LeaseState:
    """The lease object as read: content, ETag, and age in seconds by S3's clock."""

    content: dict[str, Any]
    etag: str
    age: float

    @property
    def holder(self) -> Holder:
        """The owner that wrote the object."""
        return Holder.from_dict(self.content)

    @property
    def is_free(self) -> bool:
        """Whether the lease was released, or was not renewed within its term."""
        return bool(self.content["released"]) or self.seconds_left < 0

    @property
    def seconds_left(self) -> float:
        """Seconds until the lease may be taken over, unless it is renewed."""
        return float(self.content["term"]) + _CLOCK_RESOLUTION - self.age


class LeaseObject:
    """Read and conditionally write the lease object, with retries."""

    def __init__(self, lake: Lake) -> None:
        self.uri = f"{lake.root}/lease.json"
        self._location = dict(zip(("Bucket", "Key"), bucket_and_key(self.uri), strict=True))
        self._client = s3_client(LEASE_CONFIG)

    def find(self) -> LeaseState | None:
        """Return the state of the object; None if it does not exist."""

        def get() -> LeaseState | None:
            """Read the lease object and its age by the clock of S3."""
            try:
                response = self._client.get_object(**self._location)
            except self._client.exceptions.NoSuchKey:
                return None
            content = self._parse(response["Body"].read())
            now = parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
            age = (now - response["LastModified"]).total_seconds()
            return LeaseState(content, response["ETag"], age)

        return call_with_retries(self.uri, get, _MAX_ATTEMPTS)

    def _parse(self, content: bytes) -> dict[str, Any]:
        try:
            document: dict[str, Any] = parse_document(content, SCHEMA)
            if not document.keys() & _S3_FIELDS.keys():
                # The file of a lease on a folder, copied with a lake. Its owner does not write this copy.
                return {**document, **_S3_FIELDS}
            check_document(document, _S3_SCHEMA)
            return document
        except InvalidDocumentError as error:
            raise LeaseError(
                f"{self.uri} is not a lease of Pomona: delete it, unless a process is writing the lake"
            ) from error

    def put(self, content: bytes, etag: str | None) -> str | None:
        """Write the object if it still has this ETag (None: if it does not exist).

        Returns the new ETag, or None if the condition failed.
        """
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}

        def put() -> str | None:
            try:
                response = self._client.put_object(**self._location, Body=content, **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] in {*_CONDITION_FAILED, "NoSuchKey"}:
                    return None
                raise
            return str(response["ETag"])

        return call_with_retries(self.uri, put, _MAX_ATTEMPTS)
