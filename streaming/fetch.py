"""An image's bytes, read in the Python worker with an outcome of its own: one bad object ends nothing else's way."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from streaming.decode import Reason
from streaming.storage import StoredFile, TransientFault, is_s3, storage_of

TRIES = 5
FIRST_WAIT = 0.2  # seconds, doubled with each try
# Reads of a disk are over at once; on S3 a worker waits for answers, and asks ahead.
THREADS_LOCAL, THREADS_S3 = 1, 8
#: Bytes that a worker holds of files at a time, unless one alone is longer: such a one is read with no other beside it.
ONE_BY_ONE_ABOVE = 32 * 2**20


class Outcome(StrEnum):
    """What became of one image in one attempt."""

    FEATURES = "features"
    QUARANTINE = "quarantine"
    #: Its size is not the listed one, or it is broken and young: still being written; taken later.
    CHANGING = "changing"
    #: Deleted between listing and reading: reported, and no failure.
    GONE = "gone"
    #: Ended the process that decoded it: to be taken once more, alone; never what becomes of an image in the end.
    CRASHED = "crashed"


@dataclass(frozen=True)
class Fetched:
    """One file and its bytes, or why there are none."""

    file: StoredFile
    outcome: Outcome
    content: bytes = b""
    reason: Reason | None = None
    detail: str = ""


def fetch(file: StoredFile, max_bytes: int) -> Fetched:
    """Read one file, patiently where the fault may pass.

    Raises
    ------
    TransientFault
        When it still cannot be read after `TRIES` tries; the micro-batch then fails and is run again.
    """
    if file.length > max_bytes:
        detail = f"{file.length:,} bytes, more than the limit of {max_bytes:,}"
        return Fetched(file, Outcome.QUARANTINE, reason=Reason.TOO_MANY_BYTES, detail=detail)
    try:
        content = with_patience(lambda: storage_of(file.path).read(file.path))
    except FileNotFoundError:
        return Fetched(file, Outcome.GONE)
    except PermissionError as error:
        return Fetched(file, Outcome.QUARANTINE, reason=Reason.ACCESS_DENIED, detail=str(error))
    if len(content) != file.length:
        return Fetched(file, Outcome.CHANGING)
    return Fetched(file, Outcome.FEATURES, content)


def fetch_ahead(
    files: Iterable[StoredFile], max_bytes: int, one_by_one_above: int = ONE_BY_ONE_ABOVE
) -> Iterator[Fetched]:
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

    Yields
    ------
    Fetched
        To be let go of before the next one is asked for, or both are held.

    Raises
    ------
    TransientFault
        As of `fetch`.
    """
    waiting: deque[tuple[int, Future[Fetched]]] = deque()
    held = 0
    with ThreadPoolExecutor(THREADS_S3) as pool:
        for file in files:
            ahead = THREADS_S3 if is_s3(file.path) else THREADS_LOCAL
            length = file.length if file.length <= max_bytes else 0
            while waiting and (len(waiting) > ahead or held + length > one_by_one_above):
                yield waiting[0][1].result()
                held -= waiting.popleft()[0]
            waiting.append((length, pool.submit(fetch, file, max_bytes)))
            held += length
        while waiting:
            yield waiting.popleft()[1].result()


def is_young(file: StoredFile, settle: float) -> bool:
    """Whether a file in a folder changed less than `settle` seconds ago; objects of S3 appear whole."""
    return not is_s3(file.path) and 0 <= time.time() - file.modified_ms / 1000 < settle


def with_patience(read: Callable[[], bytes]) -> bytes:
    """Call `read` again after a TransientFault, with exponential waits and jitter between the tries."""
    for attempt in range(TRIES - 1):
        try:
            return read()
        except TransientFault:
            time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5))
    return read()
