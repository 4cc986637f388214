"""Read image bytes in the Python worker with prefetching; a failed read affects only its own image."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from streaming.outcomes import Outcome, Reason
from streaming.storage.interface import StoredFile, TransientError, is_s3
from streaming.storage.open import open_storage
from streaming.storage.retry import RETRY_TIMEOUT, retry_transient, thread_retry_count

#: Patience in seconds once a file of the same task could not be read: where all of the storage is out of order, the
#: micro-batch is to fail soon.
SHORT_RETRY_TIMEOUT = 5.0
# Files in a row that cannot be read: then it is not the one file.
_UNREAD_AT_MOST = 3
# Reads of a disk are over at once; on S3 a worker waits for answers, and asks ahead.
THREADS_LOCAL, THREADS_S3 = 1, 8
#: Bytes that a worker holds of files at a time, unless one alone is longer: such a one is read with no other beside it.
ONE_BY_ONE_ABOVE = 32 * 2**20


@dataclass(frozen=True)
class FetchedImage:
    """One file and its bytes, or why there are none."""

    file: StoredFile
    outcome: Outcome
    content: bytes = b""
    reason: Reason | None = None
    detail: str = ""
    #: Tries at reading it after the first one.
    retries: int = 0


def fetch_image(
    file: StoredFile, max_bytes: int, retry_timeout: float = RETRY_TIMEOUT
) -> FetchedImage:
    """Read one file, for `retry_timeout` seconds where the fault may pass."""
    before = thread_retry_count()
    fetched = _fetch(file, max_bytes, retry_timeout)
    return replace(fetched, retries=thread_retry_count() - before)


def _fetch(file: StoredFile, max_bytes: int, retry_timeout: float) -> FetchedImage:
    if file.length > max_bytes:
        detail = f"{file.length:,} bytes, more than the limit of {max_bytes:,}"
        return FetchedImage(file, Outcome.QUARANTINE, reason=Reason.TOO_MANY_BYTES, detail=detail)
    try:
        content = retry_transient(lambda: _read_whole(file), retry_timeout)
    except FileNotFoundError:
        return FetchedImage(file, Outcome.DELETED)
    except PermissionError as error:
        return FetchedImage(
            file, Outcome.QUARANTINE, reason=Reason.ACCESS_DENIED, detail=str(error)
        )
    except TransientError as error:
        return FetchedImage(file, Outcome.UNREAD, detail=str(error))
    if len(content) != file.length:
        return FetchedImage(file, Outcome.CHANGING)
    return FetchedImage(file, Outcome.FEATURES, content)


def _read_whole(file: StoredFile) -> bytes:
    """Read a file; a TransientError where it is shorter than listed, and yet the one that was listed.

    S3 refuses who asks for an object that is not there, unless he may list the bucket in any way, in which case it
    says so; a leave to list that is bound to a prefix does not count. So the listing has the last word.
    """
    storage = open_storage(file.path)
    try:
        content = storage.read_once(file.path)
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
    """Whether an object of S3 is there, or nobody says that it is not."""
    try:
        return open_storage(path).exists(path)
    except PermissionError:
        return True


def prefetch_images(
    files: Iterable[StoredFile],
    max_bytes: int,
    one_by_one_above: int = ONE_BY_ONE_ABOVE,
    retry_timeout: float = RETRY_TIMEOUT,
) -> Iterator[FetchedImage]:
    """Read files in their order, a few ahead of the one that is asked for.

    Parameters
    ----------
    files : iterable of StoredFile
        As listed.
    max_bytes : int
        What is longer is not read.
    one_by_one_above : int
        Bytes that are held at a time, the file that was handed out last included. A longer file is read when
        the one before it has been used, and the next one when it has.
    retry_timeout : float
        Retry transient errors for up to this many seconds; `SHORT_RETRY_TIMEOUT` after a file that failed.

    Yields
    ------
    FetchedImage
        To be let go of before the next one is asked for, or both are held.

    Raises
    ------
    TransientError
        When several files in a row could not be read.
    """
    unread = 0

    def judged(fetched: FetchedImage) -> FetchedImage:
        nonlocal unread, retry_timeout
        unread = unread + 1 if fetched.outcome is Outcome.UNREAD else 0
        if unread >= _UNREAD_AT_MOST:
            raise TransientError(fetched.detail)
        retry_timeout = min(full, SHORT_RETRY_TIMEOUT) if unread else full
        return fetched

    full = retry_timeout
    waiting: deque[tuple[int, Future[FetchedImage]]] = deque()
    held = 0
    with ThreadPoolExecutor(THREADS_S3) as pool:
        for file in files:
            ahead = THREADS_S3 if is_s3(file.path) else THREADS_LOCAL
            length = file.length if file.length <= max_bytes else 0
            while waiting and (len(waiting) > ahead or held + length > one_by_one_above):
                yield judged(waiting[0][1].result())
                held -= waiting.popleft()[0]
            waiting.append((length, pool.submit(fetch_image, file, max_bytes, retry_timeout)))
            held += length
        while waiting:
            yield judged(waiting.popleft()[1].result())


def is_recently_modified(file: StoredFile, settle: float) -> bool:
    """Whether a file in a folder changed less than `settle` seconds ago; objects of S3 appear whole."""
    return not is_s3(file.path) and 0 <= time.time() - file.modified_ms / 1000 < settle
