"""End a run after the commit in progress on SIGINT, SIGTERM or SIGHUP, and a command without a traceback.

The first import of a command: it imports little, because an interruption before it prints a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Handlers = Mapping[signal.Signals, Any]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Ctrl-\ ends a process at once; by default the kernel writes a core dump too.
_AT_ONCE = (signal.SIGQUIT,)
_END_STATUS_LINE = b"\r\x1b[K\x1b[?25h"  # erases it, and shows the cursor that it hides
_LOCK_TIMEOUT = 1.0  # seconds; a terminal whose output is suspended with Ctrl-S blocks its writer

#: Held by each write to the terminal, and from the end of the status line until the process is suspended or ended:
#: another thread refreshes the status line.
terminal_lock = threading.RLock()


class _State:
    """Whether this process is a command, and the signals that it has received: a second one ends it at once."""

    def __init__(self) -> None:
        self.active = False
        self.received: list[int] = []


_command = _State()


def exit_on_signals() -> Handlers:
    """End the process without a traceback on a signal that is not ignored; return the previous handlers.

    For the imports of a command, and for the end of the interpreter.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    return _install(lambda number, _frame: _end_at_once(number), (*_SIGNALS, *_AT_ONCE))


def _install(handler: Any, numbers: Iterable[signal.Signals]) -> Handlers:
    """Install a handler for the signals that are not ignored, as SIGHUP is under nohup; return the previous ones."""
    previous = {number: signal.getsignal(number) for number in numbers}
    for number, before in previous.items():
        if before is not signal.SIG_IGN:
            signal.signal(number, handler)
    return previous


def restore_signals(handlers: Handlers) -> None:
    """Restore the handlers that `exit_on_signals` has returned."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def interrupt_on_signals() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt on the first signal while the block runs; yield the list of received signals.

    A second signal ends the process at once, with exit code 128 plus its number: the lake is consistent whenever a
    process is killed, and Java ends with it. Ctrl-Z shows the cursor before the process is suspended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    _command.active, _command.received = True, []
    hook, sys.unraisablehook = sys.unraisablehook, _repeat_ignored_interrupt
    suspending = _install(_suspend, [signal.SIGTSTP])
    try:
        with _handled_by(interrupt):
            yield _command.received
    finally:
        _command.active = False
        sys.unraisablehook = hook
        restore_signals(suspending)


def is_stopping() -> bool:
    """Return whether this command has received a signal, so that another one ends it at once."""
    return _command.active and bool(_command.received)


def replaces_interrupt(error: BaseException) -> bool:
    """Return whether an exception was raised while a KeyboardInterrupt was handled, directly or through others.

    PySpark calls Java when a block ends, also after an interrupt. If Java does not answer, the interrupt is lost.
    """
    seen: list[BaseException] = []  # `raise error from error` makes a loop
    following: BaseException | None = error
    while following is not None and following not in seen:
        if isinstance(following, KeyboardInterrupt):
            return True
        seen.append(following)
        following = following.__cause__ or following.__context__
    return False


def end_status_line() -> None:
    """Erase the line of the terminal with the cursor, such as a status line or ``^C``, and show the cursor."""
    for stream in (sys.stderr, sys.stdout):
        with suppress(Exception):
            if os.isatty(stream.fileno()):
                os.write(stream.fileno(), _END_STATUS_LINE)
                break


def _end_at_once(number: int) -> None:
    with _locked_terminal():
        end_status_line()
        os._exit(128 + number)


def _suspend(number: int, _frame: FrameType | None) -> None:
    """Suspend the process with a usable terminal; return when it is continued."""
    with _locked_terminal():
        end_status_line()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, _suspend)


@contextmanager
def _locked_terminal() -> Iterator[None]:
    """Hold the lock of the terminal while the block runs, or do without it if its holder does not release it."""
    locked = terminal_lock.acquire(timeout=_LOCK_TIMEOUT)
    try:
        yield
    finally:
        if locked:
            terminal_lock.release()


def _repeat_ignored_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """Raise an interrupt again that Python ignored, because it came within the finalizer of an object."""
    if unraisable.exc_type is not KeyboardInterrupt or not _command.received:
        sys.__unraisablehook__(unraisable)
        return
    number = _command.received.pop()
    # Later, because this hook is within the finalizer.
    timer = threading.Timer(0.01, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


@contextmanager
def stop_on_signals(stop: threading.Event | None = None) -> Iterator[threading.Event]:
    """Set an event, a new one or the given one, on SIGINT, SIGTERM or SIGHUP while the block runs.

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
        # The interrupt was lost: extension modules drop an exception that is raised within them.
        if is_stopping():
            event.set()
        yield event


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer signals while the block runs, and deliver the first of them after it, also if the block failed.

    Used while Spark starts: an interruption then would leave an orphaned Java process. The handler that PySpark
    installs is removed again: it cancels jobs through a connection that is in use.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if is_stopping():  # the interrupt was lost, see `stop_on_signals`
        raise KeyboardInterrupt
    received: list[int] = []
    try:
        with _handled_by(lambda number, _frame: received.append(number)):
            yield
    finally:
        if received:
            _command.received.clear()  # it is delivered again
            signal.raise_signal(received[0])


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        if _command.active:
            if _command.received:
                _end_at_once(number)
            _command.received.append(number)
        handle(number, frame)

    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        _install(handler, _SIGNALS)
        yield
    finally:
        restore_signals(previous)
