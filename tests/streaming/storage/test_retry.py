"""Tests for `streaming.storage.retry`: backoff with jitter, timeout and retry counters."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from streaming.storage.interface import TransientError
from streaming.storage.retry import (
    MAX_WAIT,
    process_retry_count,
    retry_transient,
    thread_retry_count,
)
from support.fake_clock import FakeClock, clock

__all__ = ["clock"]  # a fixture


class FlakyOperation:
    """Operation that raises a transient error for the first calls."""

    def __init__(self, failures: float) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise TransientError("503 Slow Down")
        return "result"


def test_transient_error_is_retried_and_counted(clock: FakeClock) -> None:
    before = thread_retry_count(), process_retry_count()
    assert retry_transient(FlakyOperation(4)) == "result"
    assert (thread_retry_count(), process_retry_count()) == (before[0] + 4, before[1] + 4)


def test_retries_are_counted_per_thread_and_process(clock: FakeClock) -> None:
    own_before, all_before = thread_retry_count(), process_retry_count()
    other = threading.Thread(target=retry_transient, args=(FlakyOperation(2),))
    other.start()
    other.join()
    assert thread_retry_count() == own_before
    assert process_retry_count() == all_before + 2


def test_backoff_grows_and_has_jitter(clock: FakeClock) -> None:
    for _ in range(20):
        retry_transient(FlakyOperation(6))
    by_attempt = [clock.waits[attempt::6] for attempt in range(6)]
    means = [sum(seconds) / len(seconds) for seconds in by_attempt]
    assert all(later > 1.4 * earlier for earlier, later in pairwise(means))
    assert all(len(set(seconds)) > 10 for seconds in by_attempt)


def test_lasting_error_is_raised_after_timeout(clock: FakeClock) -> None:
    operation = FlakyOperation(float("inf"))
    with pytest.raises(TransientError, match="Slow Down"):
        retry_transient(operation, 120)
    assert 120 - 1.5 * MAX_WAIT < sum(clock.waits) <= 120
    assert operation.calls > 10


def test_timeout_of_zero_means_one_attempt(clock: FakeClock) -> None:
    operation = FlakyOperation(1)
    with pytest.raises(TransientError):
        retry_transient(operation, 0)
    assert (operation.calls, clock.waits) == (1, [])


def test_other_errors_are_not_retried(clock: FakeClock) -> None:
    def fail() -> None:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        retry_transient(fail)
    assert clock.waits == []
