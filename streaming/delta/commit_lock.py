"""Serialize commits of several processes to one Delta table in a local folder.

Delta checks whether the file of the next version exists and then renames a temporary file to it. If two processes
do this at once, one replaces the other's commit. On S3, conditional writes prevent this
(`java/pomona/delta/FencedLogStore.java`).
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from streaming.storage.interface import is_s3, local_path
from streaming.storage.write_file import open_lock_file

log = logging.getLogger(__name__)

#: Name of the lock file, beside the tables of a lake.
LOCK_FILE = "commit-lock"


@contextmanager
def commit_lock(location: str) -> Iterator[None]:
    """Hold an exclusive lock on a file beside a table; wait for it if another process holds it.

    NFS lets hosts exclude each other only by a lock on a regular file that is open for writing; that of a folder is
    known to its host only. The file is never deleted: a process may wait for it. Nothing is locked on S3, nor,
    with a warning, if the file system does not support locks.
    """
    if is_s3(location):
        yield
        return
    folder = local_path(location).parent
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = open_lock_file(folder / LOCK_FILE, create=True)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            log.warning(
                "%s: concurrent commits are not prevented: the file system does not support locks (%s)",
                folder,
                error,
            )
        yield
    finally:
        os.close(descriptor)
