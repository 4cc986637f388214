"""The lease of a lake in a local folder: a kernel lock on a file, which is released when its process dies.

A paused process keeps it. After a driver is killed, its Java process may live for a moment with a commit in
progress; it holds a lock of its own, and the next owner waits for its release.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streaming.errors import LeaseError
from streaming.lease.holder import SCHEMA, Holder, lease_conflict
from streaming.storage.documents import InvalidDocumentError, parse_document
from streaming.storage.interface import local_path
from streaming.storage.open import open_storage
from streaming.storage.write_file import open_lock_file

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from streaming.lake.layout import Lake

log = logging.getLogger(__name__)

_FILE = "lease.json"
_POLL = 0.05
_ATTEMPTS = 20  # `find_holder` in another process takes the lock for a moment
_JAVA_EXIT_TIMEOUT = 60.0  # seconds


class LocalLease:
    """The lease of a lake in a local folder, acquired when this object is created."""

    def __init__(self, lake: Lake) -> None:
        self.holder, self.lake = Holder(), lake
        self._lost: LeaseError | None = None
        folder = local_path(lake.root)
        self._new = not folder.exists()
        self._java: Any = None
        self._java_exited = False
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _file(lake)
        self._descriptor = self._lock()
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, self.holder.as_json(), 0)
        except OSError:  # for example a full disk; without this the lock would stay
            self.release()
            raise

    def _lock(self) -> int:
        for _ in range(_ATTEMPTS):
            descriptor = open_lock_file(self._file, create=True)
            if _try_lock(descriptor, fcntl.LOCK_EX) and _is_same_file(self._file, descriptor):
                return descriptor
            os.close(descriptor)
            time.sleep(_POLL)
        raise lease_conflict(self.lake, _read(self.lake), "wait until it has ended")

    @property
    def lost(self) -> LeaseError | None:
        """The error after another process took over the lease.

        A kernel of this host never takes a lock away. A server of NFS or SMB gives it to another host if this host was
        disconnected for longer than the server waits.
        """
        if self._lost is None and not self._owns_file():
            owner = _read(self.lake)
            reason = (
                f"was taken over by {owner}, while this process was disconnected from the file server: the new owner "
                "processes what was not committed"
                if owner and owner != self.holder
                else f"is no longer locked: {_FILE} was deleted or cannot be read; start the command again"
            )
            self._lost = LeaseError(f"{self.lake.root} {reason}")
        return self._lost

    def _owns_file(self) -> bool:
        """Return whether the file is still the locked one and names this process."""
        content = self.holder.as_json()
        try:
            read = os.pread(self._descriptor, len(content) + 1, 0)
        except OSError:  # NFS fails to read through a lock that the server has dropped
            return False
        return read == content and _is_same_file(self._file, self._descriptor)

    def begin(self) -> None:
        """Wait until the Java process of a killed driver has exited."""
        deadline = time.monotonic() + _JAVA_EXIT_TIMEOUT
        descriptor = open_lock_file(_java_file(self.lake), create=True)
        try:
            while not _java_has_exited(descriptor):
                if time.monotonic() > deadline:
                    raise LeaseError(
                        f"{self.lake.root} is still open in the Java process of a driver that was killed: "
                        "end that process"
                    )
                time.sleep(_POLL)
        finally:
            os.close(descriptor)
        self._java_exited = True

    def guard(self, spark: SparkSession) -> None:
        """Let the Java process acquire a lock of its own."""
        if self._java is not None:
            return
        os.close(open_lock_file(_java_file(self.lake), create=True))
        jvm: Any = spark._jvm
        files, option = jvm.java.nio.file, jvm.java.nio.file.StandardOpenOption
        options = (option.READ, option.WRITE, files.LinkOption.NOFOLLOW_LINKS)
        array = spark.sparkContext._gateway.new_array(files.OpenOption, len(options))  # type: ignore[union-attr]
        for index, value in enumerate(options):
            array[index] = value
        path = jvm.java.io.File(str(_java_file(self.lake))).toPath()
        self._java = jvm.java.nio.channels.FileChannel.open(path, array)
        if self._java.tryLock() is None:
            log.warning("%s: the Java process could not lock the lake", self.lake.root)

    def release(self) -> None:
        """Delete the files while they are still locked, then release the lock."""
        if self._java is not None:
            with suppress(Exception):  # Java may have exited already
                self._java.close()
        if self._java_exited:  # otherwise the next owner still has to find its lock
            _java_file(self.lake).unlink(missing_ok=True)
        own = (self.holder, None)  # None: the owner could not be written
        if _is_same_file(self._file, self._descriptor) and _read(self.lake) in own:
            self._file.unlink(missing_ok=True)
        os.close(self._descriptor)
        if self._new:
            with suppress(OSError):  # remove the empty folder of a run that failed at once
                local_path(self.lake.root).rmdir()


def find_holder(lake: Lake) -> Holder | None:
    """Return the owner of the lease of a lake in a local folder; None if it is free."""
    try:
        descriptor = open_lock_file(_file(lake), create=False)
    except FileNotFoundError:
        return None
    try:
        if _try_lock(descriptor, fcntl.LOCK_SH):
            return None
        return _read(lake)
    finally:
        os.close(descriptor)


def _file(lake: Lake) -> Path:
    return local_path(lake.root) / _FILE


def _java_file(lake: Lake) -> Path:
    return local_path(lake.root) / "lease-java"


def _try_lock(descriptor: int, operation: int) -> bool:
    """Try to lock a file; return True, with a warning, if the file system does not support locks."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning(
            "concurrent writers are not prevented: the file system does not support locks (%s)",
            error,
        )
    return True


def _java_has_exited(descriptor: int) -> bool:
    """Return whether no Java process holds its POSIX lock, which is on a separate file."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


def _is_same_file(file: Path, descriptor: int) -> bool:
    """Return whether the open file still has this path: an owner deletes the file when it releases the lease."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(lake: Lake) -> Holder | None:
    path = f"{lake.root}/{_FILE}"
    try:
        content = open_storage(path).read(path, lake.root)
        return Holder.from_dict(parse_document(content, SCHEMA))
    except (FileNotFoundError, InvalidDocumentError):  # another process is writing it
        return None
