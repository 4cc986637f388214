"""Redact secrets in the output of the process, and escape control characters in log lines."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import TracebackType
from typing import IO, Any

from streaming.sanitize import escape_text, redact, redact_environment_secrets


class RedactingStream:
    """A text stream that redacts what is written to it; all other attributes are those of the wrapped stream.

    Parameters
    ----------
    stream : text stream
        The stream to write to.
    redact_text : callable
        Returns a text with its secrets replaced.
    """

    def __init__(self, stream: IO[str], redact_text: Callable[[str], str]) -> None:
        self._stream, self._redact_text = stream, redact_text

    def write(self, text: str) -> int:
        """Write a text without its secrets."""
        self._stream.write(self._redact_text(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def redact_output() -> Iterator[None]:
    """Redact standard output and standard error, including tracebacks and log lines of other packages."""
    sys.excepthook = _print_traceback
    # Scripts parse standard output: only the values of secret environment variables are replaced there.
    out: Any = RedactingStream(sys.stdout, redact_environment_secrets)
    err: Any = RedactingStream(sys.stderr, redact)
    with redirect_stdout(out), redirect_stderr(err):
        handler = logging.StreamHandler()
        handler.setFormatter(OneLineFormatter("pomona: %(message)s"))
        # Py4J logs a traceback on every Ctrl-C.
        handler.addFilter(lambda record: f"{os.sep}py4j{os.sep}" not in record.pathname)
        logging.basicConfig(handlers=[handler])
        yield


def _print_traceback(
    error_type: type[BaseException], error: BaseException, stack: TracebackType | None
) -> None:
    """Print an uncaught exception, redacted; called by the interpreter."""
    sys.stderr.write(redact("".join(traceback.format_exception(error_type, error, stack))))


class OneLineFormatter(logging.Formatter):
    """Format a log message as one line; a traceback, if any, follows unchanged."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the message with control characters escaped."""
        record.message = escape_text(record.message)
        return super().formatMessage(record)
