"""Files that all workers of pytest-xdist share: the first worker that needs them creates them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

#: Environment variable with the folder of this run of pytest; conftest.py sets it.
RUN_FOLDER = "POMONA_TEST_RUN"


def created_once(name: str, create: Callable[[Path], object]) -> Path:
    """Return a folder that `create` fills in the first process that needs it; others wait. Do not change it."""
    run = Path(os.environ[RUN_FOLDER])
    folder, complete = run / name, run / f"{name}.complete"
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                create(folder)
                complete.touch()
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # child processes may have inherited the open file
    return folder
