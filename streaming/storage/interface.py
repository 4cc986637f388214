"""Small files and listings on local folders and on S3, behind one interface.

Used to list a source and to read images, models and small files; tables are read and written by Spark. A location
is a URI as Spark writes it, not percent-encoded: ``file:/My fruit/a.jpg`` or ``s3a://bucket/My fruit/a.jpg``.

A file name may contain any bytes, and a URI is Unicode text. In a ``file:`` URI, each byte that is not valid UTF-8 is
written as ``\\xNN`` with its hexadecimal value: ``file:/data/caf\\xe9.jpg``. A backslash before a text that looks like
this is written as ``\\x5c``, so each name has exactly one URI. All other names, and all keys of S3, are unchanged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from streaming.arguments import check_argument
from streaming.errors import LakeError, PlatformError, UsageError
from streaming.sanitize import redact

_ENTRY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):")
_BUCKET_WITH_PORT = re.compile(r"[^@:]+:\d{1,5}")
_ESCAPED_BYTE = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")
_UNDECODABLE = re.compile("[\udc80-\udcff]")  # a byte that is not valid UTF-8, in a string of `os`
_GLOB_CHARACTER = re.compile(r"([\\*?\[\]{}])")

#: The years 1900 to 9999, which Spark 3.5 writes and `datetime` has in each time zone. Some file systems store others.
EARLIEST_MS, LATEST_MS = -2_208_988_800_000, 253_402_214_400_000


class NotRegularFileError(FileNotFoundError):
    """The path names a folder, FIFO, socket or device, not a file."""


class OutsideFolderError(FileNotFoundError):
    """A link in the path leads out of the folder that the read is limited to."""


class TooManyBytesError(Exception):
    """A file is longer than the limit of the read."""


class TransientError(Exception):
    """An error that may not recur: throttling, a timeout, a lost connection, a full file table."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing: URI, length in bytes, modification time in milliseconds since 1970.

    The time is between `EARLIEST_MS` and `LATEST_MS`, and in whole seconds on S3: some servers list milliseconds, but
    HTTP, in which they answer other requests, has none.
    """

    path: str
    length: int
    modified_ms: int

    def __post_init__(self) -> None:
        time = self.modified_ms
        if not EARLIEST_MS <= time <= LATEST_MS:
            time = max(EARLIEST_MS, min(time, LATEST_MS))
        if is_s3(self.path):
            time -= time % 1000
        if time != self.modified_ms:
            object.__setattr__(self, "modified_ms", time)


def unique_paths(files: Iterable[StoredFile]) -> list[StoredFile]:
    """Return the files in their order, each path once, with the last of its states: an image has one row."""
    return list({file.path: file for file in files}.values())


class Unlisted(StrEnum):
    """Reason why an entry of a folder is not listed; a closed set. S3 has no such entries."""

    #: The folder cannot be listed, or the type of the entry cannot be read: permissions, or an I/O error.
    UNREADABLE = "unreadable"
    #: A link or a mount that leads to a folder above it, or a link to itself.
    LINK_LOOP = "link_loop"
    #: A link whose target does not exist.
    DANGLING_LINK = "dangling_link"
    #: A link that leads out of the listed folder, if such links are not followed.
    OUTSIDE_LINK = "outside_link"
    #: A socket, a FIFO or a device.
    SPECIAL_FILE = "special_file"


#: Called for each entry that is not listed, with its URI, the reason and a text for users.
UnlistedCallback = Callable[[str, Unlisted, str], None]


class Storage(Protocol):
    """The operations of a storage backend; every location is a URI as returned by `normalize`."""

    def list(
        self,
        prefix: str,
        on_unlisted: UnlistedCallback | None = None,
        *,
        follow_outside: bool = False,
        within: str | None = None,
        start_after: str = "",
    ) -> Iterator[StoredFile]:
        """Yield all files below a prefix, in any order; none if the prefix does not exist.

        `start_after` is a name: files directly below the prefix are skipped up to, and including, this name.

        Entries that are not listed are passed to `on_unlisted`. Without it, they are logged, but a folder or entry that
        cannot be read raises PermissionError or TransientError: the listing of a lake is complete, or fails. Links that
        lead out of the folder `within`, by default the prefix, are followed only if `follow_outside` is true.
        """

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders directly below a prefix, in any order; none if the prefix does not exist."""

    def stat(self, path: str) -> StoredFile:
        """Return the length and time of one file; FileNotFoundError if it does not exist."""

    def exists(self, path: str) -> bool:
        """Return whether the parent folder lists a file, even if the file itself is not readable.

        Raises PermissionError or, on S3, TransientError if the folder cannot be listed. A local file of which the file
        system reports an error counts as existing.
        """

    def check_readable(self, path: str, within: str | None) -> None:
        """Open a file for reading; PermissionError if that is denied, and LakeError as `read` raises it."""

    def read(self, path: str, within: str | None) -> bytes:
        """Return the content; FileNotFoundError, PermissionError or, on S3 after retries, TransientError.

        LakeError if a link leads out of the folder `within`: the lake, or the table, of the file. None follows links;
        it is for files that the user names.
        """

    def read_once(
        self, path: str, within: str | None = None, max_bytes: int | None = None
    ) -> bytes:
        """Return the content with a single attempt, for callers that retry themselves.

        OutsideFolderError, a FileNotFoundError, if a link leads out of the folder `within`; the link may have been
        exchanged after the file was listed. TooManyBytesError if the file is longer than `max_bytes`.
        """

    def write(self, path: str, content: bytes) -> None:
        """Write a file atomically, and create its parent folders."""

    def upload_stream(self, chunks: Callable[[], Iterable[bytes]], path: str, size: int) -> None:
        """Write a file of any size from chunks of its content: readers see the complete file, or none.

        An exception that the chunks raise is raised unchanged.

        Parameters
        ----------
        chunks : callable
            Called once for each attempt. It returns the content from its beginning.
        path : str
        size : int
            Number of bytes of the content.
        """

    def delete(self, path: str) -> None:
        """Delete one file if it exists."""

    def delete_tree(self, prefix: str, last: str = "") -> None:
        """Delete all files below a prefix.

        The file `last`, directly below the prefix, is deleted after all others: as long as it exists, the deletion was
        interrupted.
        """

    def move_tree(self, prefix: str, destination: str) -> None:
        """Move all files below a prefix to another prefix on the same storage."""


def prefix_below(location: str) -> str:
    """Return the beginning of the URIs of all files below a location; the root of the file system is ``file:/``."""
    return f"{location.rstrip('/')}/"


def location_text(location: str | os.PathLike[str]) -> str:
    """Return a location given by the user as a string; UsageError if it is neither text nor a path of text."""
    text = os.fspath(check_argument("location", location, str | os.PathLike[str]))
    if not isinstance(text, str):
        raise UsageError(f"location={location!r}: give text, not bytes")
    if b"\0" in _encode(text):
        raise UsageError(f"{text!a}: contains a null character, which no path has: remove it")
    return text


def _encode(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!a}: is not valid Unicode: remove the surrogates") from error


def escape_name(name: str) -> str:
    """Return a name given by the user as it is stored: each byte that is not valid UTF-8 as ``\\xNN``."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return escape_bytes(_encode(name))
    return name


def normalize(location: str | os.PathLike[str]) -> str:
    """Convert a location given by the user to the URI that Spark writes.

    Parameters
    ----------
    location : str or os.PathLike
        A folder (relative, absolute, with ``~``), ``s3://`` / ``s3a://``, or a ``file:`` URI: percent-encoded
        after ``file://``, as browsers show it, and plain after ``file:/``, as this function returns it.
        In a local path, ``\\xNN`` is a byte, see the module's docstring, so that printed paths can be pasted.

    Returns
    -------
    str
        ``file:/absolute/folder`` or ``s3a://bucket/prefix``, without a trailing slash.

    Raises
    ------
    UsageError
        For an empty location, another scheme or host, a bucket without a name, an S3 key that is not Unicode, or
        credentials in the location.
    PlatformError
        For a relative path if the current directory was deleted.
    """
    location = location_text(location)
    if not location:
        raise UsageError("a location is empty: write a folder or an s3:// URI; . is this folder")
    match = _SCHEME.match(location)
    if not match:
        return _normalize_local(_unescape_bytes(os.fsencode(os.path.expanduser(location))))
    scheme = match.group(1).lower()
    if scheme == "file":
        return _normalize_local(_path_of_file_uri(location))
    if scheme not in ("s3", "s3a"):
        raise UsageError(
            f"{redact(location)}: only local folders, s3:// and s3a:// are supported, not {scheme}:; "
            "write ./ before a folder whose name has a colon"
        )
    bucket, _, key = location.split(":", 1)[1].removeprefix("//").partition("/")
    if _BUCKET_WITH_PORT.fullmatch(bucket):
        raise UsageError(
            f"{location}: an S3 location has no port: write {scheme}://BUCKET/PREFIX, and set AWS_ENDPOINT_URL to the "
            "address of the server"
        )
    if "@" in bucket or (":" in bucket and not bucket.startswith("arn:")):
        # The message omits the location: the text after the colon may be a secret, and would reach tables and logs.
        raise UsageError(
            f"an S3 location must not contain credentials: write {scheme}://BUCKET/PREFIX, and set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not bucket:
        raise UsageError(f"{location}: has no bucket; write s3://BUCKET/PREFIX")
    if _UNDECODABLE.search(location):
        raise UsageError(f"{location}: is not valid UTF-8, as all keys of S3 are")
    return f"s3a://{bucket}/{key}".rstrip("/")


def is_normalized(uri: object) -> bool:
    """Return whether a value from data is a URI as `normalize` returns it, without parts such as ``..``."""
    try:
        return isinstance(uri, str) and "\0" not in uri and normalize(uri) == uri
    except UsageError:
        return False


def _path_of_file_uri(location: str) -> bytes:
    path = location.split(":", 1)[1]
    if not path.startswith("//"):
        return _unescape_bytes(os.fsencode(path))
    try:
        parts = urlsplit(location)
    except ValueError as error:  # "[" in place of the host
        raise UsageError(f"{location}: {error}: write file:///FOLDER") from error
    if parts.netloc not in ("", "localhost"):
        raise UsageError(
            f"{location}: has the host {parts.netloc}; write file:///FOLDER, with three slashes"
        )
    return unquote_to_bytes(os.fsencode(parts.path))


def _normalize_local(path: bytes) -> str:
    # A path may begin with two slashes, which POSIX leaves to the system; all systems ignore the second.
    return "file:" + escape_bytes(b"/" + _absolute(path).lstrip(b"/"))


def escape_bytes(path: bytes) -> str:
    """Return a path of the file system as in a ``file:`` URI; the inverse of `local_path`."""
    return _ESCAPED_BYTE.sub(rb"\\x5cx\1", path).decode("utf-8", "backslashreplace")


def _unescape_bytes(path: bytes) -> bytes:
    return _ESCAPED_BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), path)


def _absolute(path: bytes) -> bytes:
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise PlatformError(
            f"{escape_bytes(path)}: the current directory was deleted; change to another one, or give an absolute path"
        ) from error


def join_name(folder: str, name: object, kind: str) -> str:
    """Return the URI of an entry of a folder whose name comes from data: a table, a file, or an argument.

    Parameters
    ----------
    folder : str
        Normalized URI.
    name : object
        A letter or digit, then letters, digits, ``.``, ``_`` and ``-``: no separator, so it leads to no other folder.
    kind : str
        What the name is, for the message: ``refit``, ``model``.

    Raises
    ------
    LakeError
        If the name is not valid.
    """
    if not is_entry_name(name):
        raise LakeError(
            f"{kind} {str(name)[:100]!r} is not a valid name: it must be a letter or digit, then letters, digits, "
            f"'.', '_' or '-'; another program has written it into the lake of {folder}: delete the row or file that "
            "contains it"
        )
    return f"{folder}/{name}"


def is_entry_name(name: object) -> bool:
    """Return whether `join_name` accepts a name."""
    return isinstance(name, str) and _ENTRY_NAME.fullmatch(name) is not None


def is_below(path: str, folder: str) -> bool:
    """Return whether a path or URI is below a folder, or is it and ends with ``/``.

    Only the text is compared: links and ``..`` must be resolved before.
    """
    return path.startswith(prefix_below(folder))


def is_s3(uri: str) -> bool:
    """Return whether a normalized URI is on S3."""
    return uri.startswith("s3a://")


def local_path(uri: str) -> Path:
    """Return the path of a ``file:`` URI."""
    return Path(os.fsdecode(_unescape_bytes(os.fsencode(uri.removeprefix("file:")))))


def local_uri(path: str) -> str:
    """Return the ``file:`` URI of an absolute path, as `os` functions return it."""
    return f"file:{escape_bytes(os.fsencode(path))}"


def to_spark(uri: str) -> str:
    """Return a URI as Spark's file sources write it, whose names have no escapes."""
    return uri if is_s3(uri) else f"file:{local_path(uri)}"


def from_spark(uri: str) -> str:
    """Return the URI of a file that a file source of Spark listed."""
    return uri if is_s3(uri) else "file:" + escape_bytes(uri.removeprefix("file:").encode())


def spark_problem(uri: str) -> str:
    """Return why Spark cannot list a folder or prefix, or an empty string.

    Java decodes the names of local files. Hadoop resolves ``.``, ``..`` and ``//`` in keys of S3, and parses each part
    of a path that has characters of a glob pattern as a URI.
    """
    path = uri.removeprefix("file:").removeprefix("s3a://").partition("/")[2]
    if is_s3(uri) and path and {"", ".", ".."} & set(path.split("/")):
        return "it has an empty part or a part of dots"
    if not is_s3(uri) and _UNDECODABLE.search(str(local_path(uri))):
        return "it is not valid UTF-8"
    if ":" in path and _GLOB_CHARACTER.search(path):
        return "it has a colon and one of \\ * ? [ ] { }"
    return ""


def escape_glob(uri: str) -> str:
    """Escape the characters that Spark's file sources expand as a glob pattern."""
    return _GLOB_CHARACTER.sub(r"\\\1", uri)
