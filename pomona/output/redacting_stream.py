"""Standard output and standard error of the command: in UTF-8, without secrets, with one-line errors."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from types import TracebackType
from typing import IO, Any

from pomona.output.colors import colored
from streaming.errors import ClosedPipeError, OutputError
from streaming.sanitize import message_line, redact, redact_environment_secrets
from streaming.signals import terminal_lock


class RedactingStream:
    """A text stream that redacts what is written to it; all other attributes are those of the wrapped stream.

    Parameters
    ----------
    stream : text stream
        The stream to write to.
    redact_text : callable
        Returns a text with its secrets replaced.
    required : bool
        Raise OutputError if the stream cannot be written; otherwise the text is discarded.
    """

    def __init__(
        self, stream: IO[str], redact_text: Callable[[str], str], *, required: bool = True
    ) -> None:
        self._stream, self._redact_text, self._required = stream, redact_text, required
        self._failure: OutputError | None = None
        # Not for a pipe: its reader may block a write as long as it likes.
        self._lock: AbstractContextManager[Any] = (
            terminal_lock if stream.isatty() else nullcontext()
        )

    def write(self, text: str) -> int:
        """Write a text without its secrets."""
        with self._translate_errors():
            self._stream.write(self._redact_text(text))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._translate_errors():
            self._stream.flush()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except OSError as error:
            # Python flushes the buffer again at exit, and would print an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if self._required:
                kind = ClosedPipeError if isinstance(error, BrokenPipeError) else OutputError
                self._failure = kind(f"standard output cannot be written: {error.strerror}")
        # Again at each write: other packages ignore the error of a first, empty one.
        if self._failure:
            raise self._failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def redact_output() -> Iterator[None]:
    """Redact standard output and standard error, including tracebacks and log lines of other packages."""
    sys.excepthook = _print_traceback
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(encoding="utf-8")  # PYTHONIOENCODING is ignored
    # Scripts parse standard output: only the values of secret environment variables are replaced there.
    out: Any = RedactingStream(sys.stdout, redact_environment_secrets)
    err: Any = RedactingStream(sys.stderr, redact, required=False)
    with redirect_stdout(out), redirect_stderr(err):
        handler = _StandardErrorHandler()
        handler.setFormatter(OneLineFormatter("pomona: %(message)s"))
        # Py4J logs a traceback on every Ctrl-C.
        handler.addFilter(lambda record: f"{os.sep}py4j{os.sep}" not in record.pathname)
        logging.basicConfig(handlers=[handler])
        yield


def _open_closed_streams() -> None:
    """Open the null device in place of closed standard streams, whose numbers the next opened files would get."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _print_traceback(
    error_type: type[BaseException], error: BaseException, stack: TracebackType | None
) -> None:
    """Print an uncaught exception, redacted; called by the interpreter."""
    sys.stderr.write(redact("".join(traceback.format_exception(error_type, error, stack))))


class OneLineFormatter(logging.Formatter):
    """Format a log message as one line; a traceback, if any, follows unchanged."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the message with control characters escaped, and long values shortened."""
        record.message = message_line(record.message)
        line = super().formatMessage(record)
        if record.levelno < logging.WARNING:
            return line
        return colored(line, "red" if record.levelno >= logging.ERROR else "yellow", sys.stderr)


class _StandardErrorHandler(logging.StreamHandler[Any]):
    """Writes to the current standard error, which a status line replaces while it is shown."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """The current standard error."""
        return sys.stderr
