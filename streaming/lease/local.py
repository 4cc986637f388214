"""The lease of a lake in a local folder: a kernel lock on a file, which is released when its process dies.

A paused process keeps it. After a driver is killed, its Java process may live for a moment with a commit in
progress; it holds a lock of its own, and the next owner waits for its release.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streaming.errors import LeaseError
from streaming.lease.holder import Holder, lease_conflict
from streaming.storage.interface import local_path

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from streaming.lake.layout import Lake

log = logging.getLogger(__name__)

_POLL = 0.05
_LOOKS = 20  # one who only asks who holds the lake has the lock for a moment
_JAVA_ENDS = 60.0  # seconds


class LocalLease:
    """A folder's lake, held by this process from the creation of this object on."""

    lost: LeaseError | None = None  # the kernel takes it from nobody

    def __init__(self, lake: Lake) -> None:
        self.holder, self.lake = Holder(), lake
        folder = local_path(lake.root)
        self._new = not folder.exists()
        self._java: Any = None
        self._java_has_ended = False
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _file(lake)
        self._descriptor = self._lock()
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, self.holder.as_json(), 0)
        except OSError:  # a full disk: nobody else would let go of the lock
            self.release()
            raise

    def _lock(self) -> int:
        for _ in range(_LOOKS):
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
            if _locked(descriptor, fcntl.LOCK_EX) and _is_at(self._file, descriptor):
                return descriptor
            os.close(descriptor)
            time.sleep(_POLL)
        raise lease_conflict(self.lake, _read(self._file), "wait for its end")

    def begin(self) -> None:
        """Wait for the Java process of a killed driver."""
        until = time.monotonic() + _JAVA_ENDS
        with open(_java_file(self.lake), "w") as file:
            while not _end_of_java(file.fileno()):
                if time.monotonic() > until:
                    raise LeaseError(
                        f"{self.lake.root} is still open in a Java process that was left behind by a "
                        "driver that was killed: end that process"
                    )
                time.sleep(_POLL)
        self._java_has_ended = True

    def guard(self, spark: SparkSession) -> None:
        """Have Java hold a lock too."""
        if self._java is not None:
            return
        jvm: Any = spark._jvm
        self._java = jvm.java.io.RandomAccessFile(str(_java_file(self.lake)), "rw").getChannel()
        if self._java.tryLock() is None:
            log.warning("%s: Java could not lock it", self.lake.root)

    def release(self) -> None:
        """Take the files away while they are still locked, and let go."""
        if self._java is not None:
            with suppress(Exception):  # Java may have ended before
                self._java.close()
        if self._java_has_ended:  # else its lock stays where the next holder looks
            _java_file(self.lake).unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)
        os.close(self._descriptor)
        if self._new:
            with suppress(OSError):  # a run that failed at once leaves no empty folder
                local_path(self.lake.root).rmdir()


def find_holder(lake: Lake) -> Holder | None:
    """Who holds a lake in a folder; None where nobody does."""
    try:
        descriptor = os.open(_file(lake), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        if _locked(descriptor, fcntl.LOCK_SH):
            return None
        return _read(_file(lake))
    finally:
        os.close(descriptor)


def _file(lake: Lake) -> Path:
    return local_path(lake.root) / "lease.json"


def _java_file(lake: Lake) -> Path:
    return local_path(lake.root) / "lease-java"


def _locked(descriptor: int, how: int) -> bool:
    """Whether this process has the lock now; True, with a warning, where the file system knows none."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning(
            "concurrent writers are not prevented: the file system does not support locks (%s)",
            error,
        )
    return True


def _end_of_java(descriptor: int) -> bool:
    """Whether no Java process holds its lock, which is one of POSIX, on another file than the driver's."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


def _is_at(file: Path, descriptor: int) -> bool:
    """Whether the file that was opened is still the one of that name: a holder deletes it as it lets go."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(file: Path) -> Holder | None:
    try:
        return Holder.from_dict(json.loads(file.read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # it is only being written
        return None
