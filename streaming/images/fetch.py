"""Read image bytes in the Python worker with prefetching; a failed read affects only its own image."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from streaming.outcomes import Outcome, Reason
from streaming.storage.interface import (
    StoredFile,
    TooManyBytesError,
    TransientError,
    is_below,
    is_s3,
)
from streaming.storage.open import open_storage
from streaming.storage.retry import RETRY_TIMEOUT, retry_transient, thread_retry_count

#: Retry timeout in seconds after another file of the same task could not be read: if the storage is unavailable, the
#: micro-batch fails soon.
SHORT_RETRY_TIMEOUT = 5.0
# After so many consecutive files that cannot be read, the storage is considered unavailable.
_MAX_CONSECUTIVE_UNREAD = 3
# Reads that run ahead of the consumer: a disk responds at once, S3 does not.
THREADS_LOCAL = 1
THREADS_S3 = 8
#: Limit in bytes of the files that a worker keeps in memory. A longer file is read alone, without prefetching others.
MAX_PREFETCH_BYTES = 32 * 2**20
# Seconds by which the clock of a file server may be ahead, as for Kerberos.
_MAX_CLOCK_SKEW = 300.0


@dataclass(frozen=True)
class FetchedImage:
    """One file and its content, or the reason why there is none."""

    file: StoredFile
    outcome: Outcome
    content: bytes = b""
    reason: Reason | None = None
    detail: str = ""
    #: Read attempts after the first one.
    retries: int = 0


def fetch_image(
    file: StoredFile,
    max_bytes: int,
    retry_timeout: float = RETRY_TIMEOUT,
    boundary: str | None = None,
) -> FetchedImage:
    """Read one file, and retry transient errors for up to `retry_timeout` seconds.

    If a link in its path leads out of the folder `boundary`, the file counts as deleted.
    """
    before = thread_retry_count()
    fetched = _fetch(file, max_bytes, retry_timeout, boundary)
    return replace(fetched, retries=thread_retry_count() - before)


def _fetch(
    file: StoredFile, max_bytes: int, retry_timeout: float, boundary: str | None
) -> FetchedImage:
    if file.length > max_bytes:
        detail = f"{file.length:,} bytes, more than the limit of {max_bytes:,}"
        return FetchedImage(file, Outcome.QUARANTINE, reason=Reason.TOO_MANY_BYTES, detail=detail)
    try:
        content = retry_transient(lambda: _read(file, boundary), retry_timeout)
    except FileNotFoundError:
        return FetchedImage(file, Outcome.DELETED)
    except TooManyBytesError:  # it has grown since it was listed
        return FetchedImage(file, Outcome.CHANGING)
    except PermissionError as error:
        return FetchedImage(
            file, Outcome.QUARANTINE, reason=Reason.ACCESS_DENIED, detail=str(error)
        )
    except TransientError as error:
        return FetchedImage(file, Outcome.UNREAD, detail=str(error))
    if len(content) != file.length:
        return FetchedImage(file, Outcome.CHANGING)
    return FetchedImage(file, Outcome.FEATURES, content)


def _read(file: StoredFile, boundary: str | None) -> bytes:
    """Read a file, and no more bytes than it had; raise TransientError if fewer arrive than the unchanged file has.

    S3 reports a missing object as access denied unless the caller may list the whole bucket; permission to list a
    prefix does not suffice. So the listing decides which of the two it is.
    """
    storage = open_storage(file.path)
    try:
        content = storage.read_once(file.path, boundary, file.length)
    except PermissionError:
        if is_s3(file.path) and not _is_listed(file.path):
            raise FileNotFoundError(file.path) from None
        raise
    if len(content) < file.length and storage.stat(file.path) == file:
        raise TransientError(
            f"{file.path}: only {len(content):,} of {file.length:,} bytes were received"
        )
    return content


def _is_listed(path: str) -> bool:
    """Return whether a listing contains an object on S3; True if listing is denied."""
    try:
        return open_storage(path).exists(path)
    except PermissionError:
        return True


def prefetch_images(
    files: Iterable[StoredFile],
    max_bytes: int,
    max_prefetch_bytes: int = MAX_PREFETCH_BYTES,
    retry_timeout: float = RETRY_TIMEOUT,
    boundaries: Sequence[str] = (),
) -> Iterator[FetchedImage]:
    """Read files in order, and prefetch the next few.

    Parameters
    ----------
    files : iterable of StoredFile
        As listed.
    max_bytes : int
        Longer files are not read.
    max_prefetch_bytes : int
        Limit in bytes of the files in memory, including the one yielded last. A longer file is read alone: after
        the previous file was consumed, and before the next one is requested.
    retry_timeout : float
        Retry transient errors for up to this many seconds; `SHORT_RETRY_TIMEOUT` after a file that failed.
    boundaries : sequence of str
        Folders that links in the path of a file below them must not lead out of.

    Yields
    ------
    FetchedImage
        Drop all references to it before the next one is requested, or both are in memory.

    Raises
    ------
    TransientError
        If several consecutive files cannot be read.
    """
    unread = 0
    full_timeout = retry_timeout

    def checked(fetched: FetchedImage) -> FetchedImage:
        """Count consecutive unread files, and shorten the retries after the first."""
        nonlocal unread, retry_timeout
        unread = unread + 1 if fetched.outcome is Outcome.UNREAD else 0
        if unread >= _MAX_CONSECUTIVE_UNREAD:
            raise TransientError(fetched.detail)
        retry_timeout = min(full_timeout, SHORT_RETRY_TIMEOUT) if unread else full_timeout
        return fetched

    queue: deque[tuple[int, Future[FetchedImage]]] = deque()
    bytes_in_memory = 0
    with ThreadPoolExecutor(THREADS_S3) as pool:
        for file in files:
            max_files = THREADS_S3 if is_s3(file.path) else THREADS_LOCAL
            length = file.length if file.length <= max_bytes else 0
            while queue and (
                len(queue) > max_files or bytes_in_memory + length > max_prefetch_bytes
            ):
                yield checked(queue[0][1].result())
                bytes_in_memory -= queue.popleft()[0]
            boundary = find_boundary(file.path, boundaries)
            fetching = pool.submit(fetch_image, file, max_bytes, retry_timeout, boundary)
            queue.append((length, fetching))
            bytes_in_memory += length
        while queue:
            yield checked(queue.popleft()[1].result())


def find_boundary(path: str, boundaries: Sequence[str]) -> str | None:
    """Return the folder of `boundaries` that a path is below; the innermost one, or None."""
    above = [folder for folder in boundaries if is_below(path, folder)]
    return max(above, key=len, default=None)


def is_recently_modified(file: StoredFile, settle: float) -> bool:
    """Return whether a local file was modified less than `settle` seconds ago; objects on S3 appear complete.

    A file server whose clock is ahead dates new files in the future, so these count as recent up to a limit.
    """
    age = time.time() - file.modified_ms / 1000
    return not is_s3(file.path) and settle > 0 and -_MAX_CLOCK_SKEW <= age < settle
