"""Read parts of a file, such as one column or the footer of a Parquet file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from streaming.storage.interface import is_s3, local_path


def open_ranges(uri: str) -> Path | io.RawIOBase:
    """What PyArrow reads ranges of a file from.

    Returns
    -------
    pathlib.Path or io.RawIOBase
        The path of a local file; of an object on S3 a seekable file, which keeps nothing in memory.

    Raises
    ------
    FileNotFoundError, PermissionError, TransientError
        Of an object on S3, here and when it is read; a local file is opened by whoever reads it.
    """
    return S3Ranges(uri) if is_s3(uri) else local_path(uri)


class S3Ranges(io.RawIOBase):
    """One object of S3, each read of it one request for a range."""

    def __init__(self, uri: str) -> None:
        from streaming.storage.s3 import s3_storage

        self._uri, self._storage = uri, s3_storage()
        self._length = self._storage.stat(uri).length
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, in bytes from the start, from here, or from the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the object goes; how many bytes that were."""
        end = min(self._position + len(buffer), self._length)
        count = end - self._position
        if count <= 0:
            return 0
        buffer[:count] = self._storage.read_range(self._uri, self._position, end)
        self._position = end
        return count
