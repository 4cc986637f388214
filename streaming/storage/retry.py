"""Retry transient errors with exponential backoff and jitter."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from streaming.storage.interface import TransientError

T = TypeVar("T")

#: Seconds for which something that fails is asked for again, unless the user sets another number.
RETRY_TIMEOUT = 120.0
FIRST_WAIT = 0.2  # seconds, doubled with each try
LONGEST_WAIT = 15.0


class _Counts(threading.local):
    mine = 0


_counts = _Counts()
_lock = threading.Lock()
_all = 0


def retry_transient(ask: Callable[[], T], seconds: float = RETRY_TIMEOUT) -> T:
    """Ask, and again after a fault that may pass, until an answer comes or the patience is over.

    The waits grow exponentially, and each is drawn from half to one and a half of its length: workers that were
    throttled together do not come back together.

    Parameters
    ----------
    ask : callable
        What may be done twice without harm.
    seconds : float
        No new try begins later than this after the first one.

    Raises
    ------
    TransientError
        The last one.
    """
    until = time.monotonic() + seconds
    longest = FIRST_WAIT
    while True:
        try:
            return ask()
        except TransientError:
            wait = longest * random.uniform(0.5, 1.5)
            if time.monotonic() + wait > until:
                raise
        time.sleep(wait)
        count_retry()
        longest = min(2 * longest, LONGEST_WAIT)


def count_retry() -> None:
    """Count one more try at something that had failed."""
    global _all
    _counts.mine += 1
    with _lock:
        _all += 1


def retries_of_thread() -> int:
    """Tries of this thread so far at what had failed before."""
    return _counts.mine


def retries_of_process() -> int:
    """Those of all threads of this process."""
    return _all
