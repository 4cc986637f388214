"""Files that a user names for output: checks before the work begins, and errors of one line."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streaming.errors import ExternalError, UsageError
from streaming.storage.interface import is_s3, local_path, location_text
from streaming.storage.local import lies_inside
from streaming.storage.remedies import find_remedy

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")
_MAX_NAME_LENGTH = 255  # bytes, on all common file systems


def check_output_file(
    file: str | os.PathLike[str], lake: str, option: str = "", image: str | None = None
) -> Path:
    """Return the path of a file to write.

    Parameters
    ----------
    file : str or os.PathLike
        Local path.
    lake : str
        Normalized URI of the lake, in which no file is replaced.
    option : str
        Name of the option, for messages.
    image : str, optional
        Normalized URI of an image that is read.

    Raises
    ------
    UsageError
        If it is a URI, a folder, the image, or lies inside the lake.
    ExternalError
        If it is a link or a special file, its folder does not exist, or its name is too long.
    """
    text = location_text(file)
    name = f"{option} {text}".strip()
    if not text or _URI.match(text):
        raise UsageError(f"{name or 'the file'}: give the path of a local file")
    path = Path(text)
    if len(os.fsencode(path.name)) > _MAX_NAME_LENGTH:
        raise ExternalError(f"{name}: its name is longer than {_MAX_NAME_LENGTH} bytes: shorten it")
    with output_errors(name):
        mode = path.lstat().st_mode if os.path.lexists(path) else stat.S_IFREG
        folder = path.parent.resolve()
        if not folder.is_dir():
            raise ExternalError(
                f"{name}: {folder} is not a folder: create it, or give another file"
            )
    if stat.S_ISDIR(mode):
        raise UsageError(f"{name}: is a folder: give a file")
    if not stat.S_ISREG(mode):
        raise ExternalError(f"{name}: is a link or not a regular file: give another file")
    if not is_s3(lake) and lies_inside(str(folder), os.path.realpath(local_path(lake))):
        raise UsageError(f"{name}: lies inside the lake {lake}: give a file outside of it")
    if image and not is_s3(image) and _is_same(path, local_path(image)):
        raise UsageError(f"{name}: is the image itself: give another file")
    return path


@contextmanager
def output_errors(name: str) -> Iterator[None]:
    """Translate the errors of writing a file that a user names to ExternalError."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or str(error)
        remedy = find_remedy(problem) or "give a file in another folder"
        raise ExternalError(f"{name}: {problem}: {remedy}") from error


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
