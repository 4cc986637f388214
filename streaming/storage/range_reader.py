"""Read parts of a file, such as one column or the footer of a Parquet file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from streaming.storage.interface import is_s3, local_path


def open_ranges(uri: str) -> Path | io.RawIOBase:
    """Open a file for range reads by PyArrow.

    Returns
    -------
    pathlib.Path or io.RawIOBase
        The path of a local file, or an unbuffered seekable file for an object on S3.

    Raises
    ------
    FileNotFoundError, PermissionError, TransientError
        For an object on S3, here and on each read; a local file is opened by the caller.
    """
    return S3Ranges(uri) if is_s3(uri) else local_path(uri)


# PyArrow reads this much for a footer: a Parquet file that is not longer takes one request.
_END_BYTES = 64 * 1024


class S3Ranges(io.RawIOBase):
    """A seekable file over one S3 object; each read before its last 64 KiB is one range request."""

    def __init__(self, uri: str) -> None:
        from streaming.storage.s3 import s3_storage

        self._uri, self._storage = uri, s3_storage()
        self._end, self._length = self._storage.read_end(uri, _END_BYTES)
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position in bytes, relative to the start, the current position or the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer up to the end of the object; return the number of bytes read."""
        end = min(self._position + len(buffer), self._length)
        count = end - self._position
        if count <= 0:
            return 0
        start = self._position - (self._length - len(self._end))
        if start >= 0:
            buffer[:count] = self._end[start : start + count]
        else:
            buffer[:count] = self._storage.read_range(self._uri, self._position, end)
        self._position = end
        return count
