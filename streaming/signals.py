"""Turn SIGINT and SIGTERM into an event, so that a run ends after the current micro-batch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requested(stop: threading.Event | None = None) -> Iterator[threading.Event]:
    """Collect SIGINT and SIGTERM in an event, a new one or the caller's, while the block runs.

    Enter it after Spark has started: PySpark puts a handler of its own, which cancels running jobs, in place.
    Outside the main thread, where Python takes no signals, the event is only the caller's to set.

    Yields
    ------
    threading.Event
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
    """Hold SIGINT and SIGTERM back while the block runs, and deliver the first of them after it.

    For Spark's start: interrupted there, PySpark leaves a Java process behind that nobody ends. The handler that
    PySpark puts in place is taken away again: it cancels jobs through a connection that is in use.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    with _handled_by(lambda number, _frame: held.append(number)):
        yield
    if held:
        signal.raise_signal(held[0])


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
