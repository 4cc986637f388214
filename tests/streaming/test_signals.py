"""Tests for `streaming.signals`: signals set an event or are deferred, and handlers are restored."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from streaming.signals import defer_signals, replaces_interrupt, stop_on_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def run_command(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that handles signals as a command does."""
    beginning = """
import os, signal, time
from streaming.signals import defer_signals, exit_on_signals, interrupt_on_signals, stop_on_signals
exit_on_signals()
"""
    return subprocess.run(
        [sys.executable, "-c", beginning + program], capture_output=True, text=True, check=False
    )


def test_ignored_hangup_stays_ignored() -> None:
    done = run_command("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
with interrupt_on_signals(), stop_on_signals() as stop:
    signal.raise_signal(signal.SIGHUP)
    print(stop.is_set())
""")
    assert (done.stdout, done.returncode, done.stderr) == ("False\n", 0, "")


def test_quit_ends_a_command_at_once_without_core_dump() -> None:
    done = run_command("""
with interrupt_on_signals(), stop_on_signals():
    signal.raise_signal(signal.SIGQUIT)
""")
    assert (done.returncode, done.stderr) == (128 + signal.SIGQUIT, "")


def test_lost_interrupt_prevents_the_next_long_operation() -> None:
    """C code that asks for an attribute drops exceptions that are raised meanwhile."""
    done = run_command("""
for operation in (defer_signals, stop_on_signals):
    with interrupt_on_signals():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        try:
            with operation() as stop:
                print(stop and stop.is_set())
        except KeyboardInterrupt:
            print("interrupted")
""")
    assert (done.stdout.split(), done.stderr) == (["interrupted", "True"], "")


def test_interrupt_in_a_finalizer_is_raised_after_it() -> None:
    done = run_command("""
class Closing:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

with interrupt_on_signals() as received:
    try:
        Closing()
        time.sleep(30)
    except KeyboardInterrupt:
        print("interrupted", received)
""")
    assert (done.stdout, done.stderr) == ("interrupted [2]\n", "")


def test_deferred_signal_replaces_an_error_that_it_has_caused(received: list[int]) -> None:
    def start() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGTERM)
            raise OSError("Java was terminated too")

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_error_that_replaces_an_interrupt_is_recognized() -> None:
    with pytest.raises(ValueError, match="translated") as caught:
        try:
            try:
                raise KeyboardInterrupt
            finally:
                raise OSError("Java does not answer")
        except OSError as error:
            raise ValueError("translated") from error
    assert replaces_interrupt(caught.value)
    assert not replaces_interrupt(ValueError())


def test_error_that_is_its_own_cause_is_no_interrupt() -> None:
    error = ValueError()
    with pytest.raises(ValueError, match=r"^$"):
        raise error from error
    assert not replaces_interrupt(error)
