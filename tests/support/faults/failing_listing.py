"""A folder that cannot be listed, as on a disk or network drive with errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def fail_listing(patch: pytest.MonkeyPatch, folder: Path, number: int, times: int = -1) -> None:
    """Let `os.scandir` fail with an error number for one folder, always or a number of times."""
    scandir, remaining = os.scandir, times

    def scan(path: Any = ".") -> Any:
        nonlocal remaining
        if os.fspath(path) == str(folder) and remaining != 0:
            remaining -= 1
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    patch.setattr(os, "scandir", scan)
