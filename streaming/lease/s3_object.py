"""The lease object on S3: read it, and write it only if no other process has."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import ClientError

from streaming.errors import LeaseError
from streaming.lease.holder import Holder
from streaming.storage.interface import TransientError
from streaming.storage.s3_client import s3_client, split
from streaming.storage.s3_errors import PRECONDITION_FAILED, translated

if TYPE_CHECKING:
    from streaming.lake.layout import Lake

T = TypeVar("T")

_COARSE = 2.0  # seconds: S3 tells both times in whole ones
_ATTEMPTS = 6
_BRISK = Config(retries={"mode": "standard", "max_attempts": 2}, connect_timeout=5, read_timeout=5)
_TAKEN = PRECONDITION_FAILED | {"ConditionalRequestConflict", "409"}


@dataclass(frozen=True)
class Found:
    """The object as it was found: its content, its ETag, and its age in seconds by S3's own clock."""

    content: dict[str, Any]
    etag: str
    age: float

    @property
    def holder(self) -> Holder:
        """Who put it."""
        return Holder.told(self.content)

    @property
    def is_over(self) -> bool:
        """Whether it was let go of, or was not renewed for its term."""
        return bool(self.content["released"]) or self.left < 0

    @property
    def left(self) -> float:
        """Seconds until it may be taken over, unless it is renewed."""
        return float(self.content["term"]) + _COARSE - self.age


class LeaseObject:
    """The object itself, read and put with patience."""

    def __init__(self, lake: Lake) -> None:
        self.uri = f"{lake.root}/lease.json"
        self._where = dict(zip(("Bucket", "Key"), split(self.uri), strict=True))
        self._client = s3_client(_BRISK)

    def find(self) -> Found | None:
        """The object; None where there is none."""

        def get() -> Found | None:
            try:
                found = self._client.get_object(**self._where)
            except self._client.exceptions.NoSuchKey:
                return None
            content = self._parsed(found["Body"].read())
            now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
            age = (now - found["LastModified"]).total_seconds()
            return Found(content, found["ETag"], age)

        return self._patiently(get)

    def _parsed(self, content: bytes) -> dict[str, Any]:
        try:
            told = json.loads(content)
            Holder.told(told)
            return {**told, **{name: told[name] for name in ("term", "released", "checkpoint")}}
        except (ValueError, KeyError, TypeError) as error:
            raise LeaseError(
                f"{self.uri} is no lease of Pomona's: delete it, unless something writes the lake"
            ) from error

    def put(self, content: bytes, etag: str | None) -> str | None:
        """Put the object if it still has this ETag (None: if there is none); its new ETag, None where it is not so."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}

        def put() -> str | None:
            try:
                done = self._client.put_object(**self._where, Body=content, **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] in {*_TAKEN, "NoSuchKey"}:
                    return None
                raise
            return str(done["ETag"])

        return self._patiently(put)

    def _patiently(self, ask: Callable[[], T]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                with translated(self.uri):
                    return ask()
            except TransientError:
                if attempt == _ATTEMPTS - 1:
                    raise
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
        raise AssertionError
