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

log = logging.getLogger(__name__)


@contextmanager
def commit_lock(location: str) -> Iterator[None]:
    """Hold an exclusive lock on the folder that contains a table; wait for it if another process holds it.

    The lock does nothing for tables on S3, or if the file system does not support locks.
    """
    if is_s3(location):
        yield
        return
    folder = local_path(location).parent
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            log.debug(
                "%s: commits are not locked, the file system does not support it (%s)",
                folder,
                error,
            )
        yield
    finally:
        os.close(descriptor)
