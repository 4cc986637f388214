"""Tests for `streaming.signals`: signals set a flag, or wait, and everything is as before afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from streaming.signals import defer_signals, stop_on_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def heard() -> Iterator[list[int]]:
    """Signals that reach whoever handled them before."""
    reached: list[int] = []
    before = {n: signal.signal(n, lambda number, _: reached.append(number)) for n in SIGNALS}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield reached
    after = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == handlers


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_flag_and_nothing_else(number: signal.Signals, heard: list[int]) -> None:
    with stop_on_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
    assert heard == []


def test_the_flag_may_be_the_callers(heard: list[int]) -> None:
    mine = threading.Event()
    with stop_on_signals(mine) as stop:
        assert stop is mine
        signal.raise_signal(signal.SIGINT)
    assert mine.is_set()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_held_arrives_once_at_the_end(
    number: signal.Signals, heard: list[int]
) -> None:
    with defer_signals():
        for _ in range(3):  # somebody is impatient
            signal.raise_signal(number)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as PySpark puts its own handler in place
        assert heard == []
    assert heard == [number]


def test_where_nothing_was_held_nothing_arrives(heard: list[int]) -> None:
    with defer_signals():
        pass
    assert heard == []


def test_an_interrupt_that_is_held_interrupts_after_the_block() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []

    def start() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            done.append("the block")
        done.append("what follows")

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["the block"]


def test_other_threads_take_no_signals_and_need_none() -> None:
    entered = []

    def work() -> None:
        with stop_on_signals() as stop, defer_signals():
            entered.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(entered) == 1
