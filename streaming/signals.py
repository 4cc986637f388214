"""End a run after the current micro-batch on SIGINT or SIGTERM, and a command without a traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

Handlers = Mapping[signal.Signals, Any]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_END_STATUS_LINE = b"\r\x1b[K\x1b[?25h"  # erases it, and shows the cursor that it hides


@dataclass
class _State:
    """Whether this process is a command, and the signals that it has received: a second one ends it at once."""

    active: bool = False
    received: list[int] = field(default_factory=list)


_command = _State()


def exit_on_signals() -> Handlers:
    """End the process without a traceback on SIGINT or SIGTERM, unless they are ignored; return the previous handlers.

    For the imports of a command, and for the end of the interpreter.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: os._exit(128 + number))
    return previous


def restore_signals(handlers: Handlers) -> None:
    """Restore the handlers that `exit_on_signals` has returned."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def interrupt_on_signals() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt on SIGINT or SIGTERM while the block runs; yield the list of received signals.

    A second signal ends the process at once, with exit code 128 plus its number: the lake is consistent whenever a
    process is killed, and Java ends with it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    _command.active, _command.received = True, []
    try:
        with _handled_by(interrupt, keep_ignored=True):
            yield _command.received
    finally:
        _command.active = False


def _end_at_once(number: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            if os.isatty(stream.fileno()):
                os.write(stream.fileno(), _END_STATUS_LINE)
                break
    os._exit(128 + number)


@contextmanager
def stop_on_signals(stop: threading.Event | None = None) -> Iterator[threading.Event]:
    """Set an event, a new one or the given one, on SIGINT or SIGTERM while the block runs.

    Enter it after Spark has started: PySpark installs its own handler, which cancels running jobs. Outside the
    main thread, where Python cannot handle signals, only the caller sets the event.
    """
    event = stop or threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def request(_signal: int, _frame: FrameType | None) -> None:
        event.set()

    with _handled_by(request):
        yield event


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM while the block runs, and deliver the first of them after it.

    Used while Spark starts: an interruption then would leave an orphaned Java process. The handler that PySpark
    installs is removed again: it cancels jobs through a connection that is in use.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    with _handled_by(lambda number, _frame: received.append(number)):
        yield
    if received:
        _command.received.clear()  # it is delivered again
        signal.raise_signal(received[0])


@contextmanager
def _handled_by(
    handle: Callable[[int, FrameType | None], None], *, keep_ignored: bool = False
) -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        if _command.active:
            if _command.received:
                _end_at_once(number)
            _command.received.append(number)
        handle(number, frame)

    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number, before in previous.items():
            if before is not signal.SIG_IGN or not keep_ignored:
                signal.signal(number, handler)
        yield
    finally:
        restore_signals(previous)
