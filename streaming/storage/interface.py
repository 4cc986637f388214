"""Small files and listings on local folders and on S3, behind one interface.

Tables belong to Spark; this is for the source's listing, an image's bytes, the exported model, the CSV. A location
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

from streaming.errors import UsageError
from streaming.sanitize import redact

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):")


class TransientError(Exception):
    """A read that may work later: throttling, a timeout, a lost connection, a full file table."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing: URI, length in bytes, modification time in milliseconds since 1970."""

    path: str
    length: int
    modified_ms: int


class Storage(Protocol):
    """What both kinds of storage can do; every location is a URI as `normalize` returns it."""

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """All files below a prefix, in any order; nothing where the prefix does not exist."""

    def stat(self, path: str) -> StoredFile:
        """Length and time of one file; FileNotFoundError where it is gone."""

    def exists(self, path: str) -> bool:
        """Whether a file is there, told by its folder: that holds for one, too, that may not be read.

        PermissionError or TransientError where that cannot be told.
        """

    def check_readable(self, path: str) -> None:
        """Begin to read a file: PermissionError where that is not allowed."""

    def read(self, path: str) -> bytes:
        """The bytes of one file; FileNotFoundError, PermissionError or TransientError, on S3 after all patience."""

    def read_once(self, path: str) -> bytes:
        """The same by one try, for whoever has a patience of his own."""

    def write(self, path: str, content: bytes) -> None:
        """Put a file in place whole, its folders included."""

    def upload(self, local: Path, path: str) -> None:
        """Put a local file in place, whatever its size."""

    def delete(self, path: str) -> None:
        """Delete one file, if it is there."""

    def delete_tree(self, prefix: str) -> None:
        """Delete all below a prefix."""

    def move_tree(self, prefix: str, to: str) -> None:
        """Move all below a prefix to another of the same storage."""


def normalize(location: str) -> str:
    """Turn what a person types into the URI that Spark writes.

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
    """
    match = _SCHEME.match(location)
    if not match:
        return "file:" + os.path.abspath(os.path.expanduser(location))
    scheme = match.group(1).lower()
    if scheme == "file":
        path = location.split(":", 1)[1]
        return "file:" + os.path.abspath(
            unquote(urlparse(location).path) if path.startswith("//") else path
        )
    if scheme not in ("s3", "s3a"):
        raise UsageError(
            f"{redact(location)}: only local folders, s3:// and s3a:// are supported, not {scheme}:"
        )
    bucket, _, key = location.split(":", 1)[1].removeprefix("//").partition("/")
    if "@" in bucket or (":" in bucket and not bucket.startswith("arn:")):
        # Told without the location: what follows the colon may be a secret, and ends in tables and logs.
        raise UsageError(
            f"an S3 location must not contain credentials: write {scheme}://BUCKET/PREFIX, and set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not bucket:
        raise UsageError(f"{location}: has no bucket; write s3://BUCKET/PREFIX")
    return f"s3a://{bucket}/{key.strip('/')}".rstrip("/")


def is_s3(uri: str) -> bool:
    """Whether a normalized URI is on S3."""
    return uri.startswith("s3a://")


def local_path(uri: str) -> Path:
    """Folder or file of a ``file:`` URI."""
    return Path(uri.removeprefix("file:"))
