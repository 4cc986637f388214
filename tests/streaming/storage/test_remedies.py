"""Tests for the remedies of errors of the system."""

from __future__ import annotations

import errno
import os

import pytest

from streaming.storage.remedies import find_remedy


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "give this user access"),
        (errno.EPERM, "give this user access"),
        (errno.EROFS, "mount the file system for writing"),
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.ENAMETOOLONG, "choose a shorter path"),
        (errno.ENOENT, ""),
        (errno.EIO, ""),
    ],
)
def test_each_error_of_the_system_has_its_own_remedy(number: int, remedy: str) -> None:
    error = OSError(number, os.strerror(number), "/lake/file")
    found = find_remedy(str(error))
    assert found.startswith(remedy)
    assert bool(found) == bool(remedy)


def test_errors_of_delta_rs_and_java_have_remedies() -> None:
    delta_rs = (
        "Generic LocalFileSystem error: Unable to open file /x: Permission denied (os error 13)"
    )
    java = "java.nio.file.AccessDeniedException: /lake"
    assert find_remedy(delta_rs) == find_remedy(java) == find_remedy("Permission denied") != ""
