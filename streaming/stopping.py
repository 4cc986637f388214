"""Ctrl-C and SIGTERM as a wish: a flag that the main thread looks at between two micro-batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
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

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
