"""Small files and listings on local folders and on S3, behind one interface.

Used to list a source and to read images, models and small files; tables are read and written by Spark. A location
is a URI as Spark writes it, not percent-encoded: ``file:/My fruit/a.jpg`` or ``s3a://bucket/My fruit/a.jpg``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from streaming.errors import PlatformError, UsageError
from streaming.sanitize import redact

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):")


class TransientError(Exception):
    """An error that may not recur: throttling, a timeout, a lost connection, a full file table."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing: URI, length in bytes, modification time in milliseconds since 1970."""

    path: str
    length: int
    modified_ms: int


class Storage(Protocol):
    """The operations of a storage backend; every location is a URI as returned by `normalize`."""

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """Yield all files below a prefix, in any order; none if the prefix does not exist."""

    def stat(self, path: str) -> StoredFile:
        """Return the length and time of one file; FileNotFoundError if it does not exist."""

    def exists(self, path: str) -> bool:
        """Return whether the parent folder lists a file, even if the file itself is not readable.

        Raises PermissionError or TransientError if the folder cannot be listed.
        """

    def check_readable(self, path: str) -> None:
        """Open a file for reading; PermissionError if that is denied."""

    def read(self, path: str) -> bytes:
        """Return the content; FileNotFoundError, PermissionError or, on S3 after retries, TransientError."""

    def read_once(self, path: str) -> bytes:
        """Return the content with a single attempt, for callers that retry themselves."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file atomically, and create its parent folders."""

    def upload(self, local: Path, path: str) -> None:
        """Upload a local file of any size."""

    def delete(self, path: str) -> None:
        """Delete one file if it exists."""

    def delete_tree(self, prefix: str) -> None:
        """Delete all files below a prefix."""

    def move_tree(self, prefix: str, destination: str) -> None:
        """Move all files below a prefix to another prefix on the same storage."""


def normalize(location: str) -> str:
    """Convert a location given by the user to the URI that Spark writes.

    Parameters
    ----------
    location : str
        A folder (relative, absolute, with ``~``), ``s3://`` / ``s3a://``, or a ``file:`` URI: percent-encoded
        after ``file://``, as browsers show it, and plain after ``file:/``, as this function returns it.

    Returns
    -------
    str
        ``file:/absolute/folder`` or ``s3a://bucket/prefix``, without a trailing slash.

    Raises
    ------
    UsageError
        For another scheme, a bucket without a name, or credentials in the location.
    PlatformError
        For a relative path if the current directory was deleted.
    """
    match = _SCHEME.match(location)
    if not match:
        return "file:" + _absolute(os.path.expanduser(location))
    scheme = match.group(1).lower()
    if scheme == "file":
        path = location.split(":", 1)[1]
        return "file:" + _absolute(
            unquote(urlparse(location).path) if path.startswith("//") else path
        )
    if scheme not in ("s3", "s3a"):
        raise UsageError(
            f"{redact(location)}: only local folders, s3:// and s3a:// are supported, not {scheme}:"
        )
    bucket, _, key = location.split(":", 1)[1].removeprefix("//").partition("/")
    if "@" in bucket or (":" in bucket and not bucket.startswith("arn:")):
        # The message omits the location: the text after the colon may be a secret, and would reach tables and logs.
        raise UsageError(
            f"an S3 location must not contain credentials: write {scheme}://BUCKET/PREFIX, and set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not bucket:
        raise UsageError(f"{location}: has no bucket; write s3://BUCKET/PREFIX")
    return f"s3a://{bucket}/{key.strip('/')}".rstrip("/")


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise PlatformError(
            f"{path}: the current directory was deleted; change to another one, or give an absolute path"
        ) from error


def is_s3(uri: str) -> bool:
    """Return whether a normalized URI is on S3."""
    return uri.startswith("s3a://")


def local_path(uri: str) -> Path:
    """Return the path of a ``file:`` URI."""
    return Path(uri.removeprefix("file:"))
