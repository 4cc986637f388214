"""Retry transient errors with exponential backoff and jitter."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from streaming.storage.interface import TransientError

T = TypeVar("T")

#: Default number of seconds during which a failed operation is retried.
RETRY_TIMEOUT = 120.0
INITIAL_WAIT = 0.2  # seconds, doubled after each attempt
MAX_WAIT = 15.0


class _Counts(threading.local):
    of_thread = 0


_counts = _Counts()
_lock = threading.Lock()
_process_total = 0


def retry_transient(
    operation: Callable[[], T], seconds: float = RETRY_TIMEOUT, max_attempts: int | None = None
) -> T:
    """Call an operation, and repeat it after a transient error until it succeeds or the limit is reached.

    The backoff is exponential with jitter: each wait is multiplied by a random factor between 0.5 and 1.5, so that
    workers throttled at the same time do not retry at the same time.

    Parameters
    ----------
    operation : callable
        Must be idempotent.
    seconds : float
        No attempt starts later than this after the first one.
    max_attempts : int, optional
        Total number of attempts; unlimited by default.

    Raises
    ------
    TransientError
        The error of the last attempt.
    """
    deadline = time.monotonic() + seconds
    backoff = INITIAL_WAIT
    for attempt in itertools.count(1):
        try:
            return operation()
        except TransientError:
            wait = backoff * random.uniform(0.5, 1.5)
            if attempt == max_attempts or time.monotonic() + wait > deadline:
                raise
        time.sleep(wait)
        count_retry()
        backoff = min(2 * backoff, MAX_WAIT)
    raise AssertionError


def count_retry() -> None:
    """Add one retry to the counters of this thread and this process."""
    global _process_total
    _counts.of_thread += 1
    with _lock:
        _process_total += 1


def thread_retry_count() -> int:
    """Return the number of retries made by this thread so far."""
    return _counts.of_thread


def process_retry_count() -> int:
    """Return the number of retries made by all threads of this process so far."""
    return _process_total
