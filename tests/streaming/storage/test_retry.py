"""Tests for `streaming.storage.retry`: what may pass is waited for, with growing waits that differ, and counted."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from streaming.storage.interface import TransientError
from streaming.storage.retry import (
    LONGEST_WAIT,
    process_retry_count,
    retry_transient,
    thread_retry_count,
)
from support.fake_clock import FakeClock, clock

__all__ = ["clock"]  # a fixture


class Failing:
    """Answers after a number of faults."""

    def __init__(self, faults: float) -> None:
        self.faults, self.asked = faults, 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.faults:
            raise TransientError("503 Slow Down")
        return "an answer"


def test_a_fault_that_passes_leaves_no_trace_but_a_count(clock: FakeClock) -> None:
    before = thread_retry_count(), process_retry_count()
    assert retry_transient(Failing(4)) == "an answer"
    assert (thread_retry_count(), process_retry_count()) == (before[0] + 4, before[1] + 4)


def test_each_thread_counts_its_own(clock: FakeClock) -> None:
    mine, all_before = thread_retry_count(), process_retry_count()
    other = threading.Thread(target=retry_transient, args=(Failing(2),))
    other.start()
    other.join()
    assert thread_retry_count() == mine
    assert process_retry_count() == all_before + 2


def test_waits_grow_and_are_never_the_same_for_all_workers(clock: FakeClock) -> None:
    for _ in range(20):
        retry_transient(Failing(6))
    by_try = [clock.waits[attempt::6] for attempt in range(6)]
    means = [sum(seconds) / len(seconds) for seconds in by_try]
    assert all(later > 1.4 * earlier for earlier, later in pairwise(means))
    assert all(len(set(seconds)) > 10 for seconds in by_try)


def test_a_fault_that_stays_is_raised_when_the_patience_is_over(clock: FakeClock) -> None:
    failing = Failing(float("inf"))
    with pytest.raises(TransientError, match="Slow Down"):
        retry_transient(failing, 120)
    assert 120 - 1.5 * LONGEST_WAIT < sum(clock.waits) <= 120
    assert failing.asked > 10


def test_without_patience_it_is_asked_for_once(clock: FakeClock) -> None:
    failing = Failing(1)
    with pytest.raises(TransientError):
        retry_transient(failing, 0)
    assert (failing.asked, clock.waits) == (1, [])


def test_another_error_is_not_waited_for(clock: FakeClock) -> None:
    def absent() -> None:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        retry_transient(absent)
    assert clock.waits == []
