"""Tests for `streaming.signals`: signals set an event or are deferred, and handlers are restored."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from streaming.signals import defer_signals, stop_on_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def received() -> Iterator[list[int]]:
    """Record signals that reach the previous handlers, and check that these are restored."""
    numbers: list[int] = []
    before = {n: signal.signal(n, lambda number, _: numbers.append(number)) for n in SIGNALS}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield numbers
    after = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == handlers


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_sets_event_only(number: signal.Signals, received: list[int]) -> None:
    with stop_on_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
    assert received == []


def test_event_can_be_given_by_caller(received: list[int]) -> None:
    event = threading.Event()
    with stop_on_signals(event) as stop:
        assert stop is event
        signal.raise_signal(signal.SIGINT)
    assert event.is_set()


@pytest.mark.parametrize("number", SIGNALS)
def test_deferred_signal_is_delivered_once_after_block(
    number: signal.Signals, received: list[int]
) -> None:
    with defer_signals():
        for _ in range(3):  # repeated signals are delivered once
            signal.raise_signal(number)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # PySpark installs its own handler like this
        assert received == []
    assert received == [number]


def test_nothing_is_delivered_without_signal(received: list[int]) -> None:
    with defer_signals():
        pass
    assert received == []


def test_deferred_interrupt_is_raised_after_block() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    completed = []

    def start() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            completed.append("block")
        completed.append("code after block")

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert completed == ["block"]


def test_context_managers_work_in_other_threads() -> None:
    entered = []

    def work() -> None:
        with stop_on_signals() as stop, defer_signals():
            entered.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(entered) == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_second_signal_ends_a_command_at_once_without_traceback(number: signal.Signals) -> None:
    """The first one raises KeyboardInterrupt; while Spark starts, it is deferred."""
    program = f"""
import signal
from streaming.signals import defer_signals, interrupt_on_signals, stop_on_signals
with interrupt_on_signals() as received:
    try:
        with defer_signals():
            signal.raise_signal({number.value})
            print("deferred", flush=True)
    except KeyboardInterrupt:
        print(received, flush=True)
    received.clear()
    with stop_on_signals() as stop:
        signal.raise_signal({number.value})
        print(stop.is_set(), flush=True)
        signal.raise_signal({number.value})
        print("not reached")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["deferred", f"[{number.value}]", "True"]
    assert (done.returncode, done.stderr) == (128 + number, "")
