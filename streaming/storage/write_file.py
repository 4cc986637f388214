"""Write local files so that no link is followed: a lake may be a folder in which others plant links.

A link in place of a file that Pomona writes would make it overwrite a file anywhere. Every local write of Pomona goes
through this module, or into a folder that only this user can write to.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from streaming.errors import LakeError

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Errors of opening a link, a folder, and a socket or FIFO.
_NOT_REGULAR = {errno.ELOOP, errno.EISDIR, errno.ENXIO}


@contextmanager
def new_file(target: Path, mode: int = 0o666) -> Iterator[tuple[Path, BinaryIO]]:
    """Create a temporary file beside `target`, and delete it at the end unless it was renamed.

    It is hidden, has a random name, and is created by this call, not opened.

    Yields
    ------
    Path, BinaryIO
        Its path, and the file, opened for writing.
    """
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    descriptor = os.open(temporary, _CREATE, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


def create_file(target: Path, content: bytes, mode: int = 0o666) -> None:
    """Create a file, and delete it if that fails; FileExistsError if it exists. Readers may see a part of it."""
    descriptor = os.open(target, _CREATE, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def replace_file(target: Path, content: bytes, mode: int = 0o666) -> None:
    """Create or replace a file atomically, so that readers never see a part of it; a link is replaced, not followed."""
    with new_file(target, mode) as (temporary, file):
        file.write(content)
        file.flush()
        os.replace(temporary, target)


def open_lock_file(path: Path, *, create: bool) -> int:
    """Open a file for a lock, and return its descriptor.

    Raises
    ------
    FileNotFoundError
        If it does not exist and is not created.
    LakeError
        If the path is a link, a folder or a special file, or if the file has another name too (a hard link).
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    flags |= os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in _NOT_REGULAR:
            raise _not_regular(path) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise _not_regular(path)
    return descriptor


def _not_regular(path: Path) -> LakeError:
    return LakeError(
        f"{path}: is a link or not a regular file, so it was not created by Pomona: delete it"
    )
