"""Redact secrets and escape control characters in everything that is written to the terminal."""

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
    """A text stream that keeps secrets to itself; all else is the stream's own.

    Parameters
    ----------
    stream : text stream
    censor : callable
        From a text to what may be said of it.
    """

    def __init__(self, stream: IO[str], redact_text: Callable[[str], str]) -> None:
        self._stream, self._censor = stream, redact_text

    def write(self, text: str) -> int:
        """Write what may be said."""
        self._stream.write(self._censor(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def redact_output() -> Iterator[None]:
    """Have all that this process says pass through `RedactingStream`, tracebacks and other packages' words included."""
    sys.excepthook = _tell
    out: Any = RedactingStream(
        sys.stdout, redact_environment_secrets
    )  # a script reads it: names stay as they are
    err: Any = RedactingStream(sys.stderr, redact)
    with redirect_stdout(out), redirect_stderr(err):
        warnings = logging.StreamHandler()
        warnings.setFormatter(OneLineFormatter("pomona: %(message)s"))
        # Py4J tells of every Ctrl-C with its stack.
        warnings.addFilter(lambda record: f"{os.sep}py4j{os.sep}" not in record.pathname)
        logging.basicConfig(handlers=[warnings])
        yield


def _tell(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
    """What the interpreter does with an exception that nobody has caught, when all else is over."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, stack))))


class OneLineFormatter(logging.Formatter):
    """A log message as one line; the stack of an exception, where there is one, follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Fill the format, with what the message holds made visible."""
        record.message = escape_text(record.message)
        return super().formatMessage(record)
