"""Turn SIGINT and SIGTERM into an event, so that a run ends after the current micro-batch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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
        signal.raise_signal(received[0])


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
