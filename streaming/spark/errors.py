"""Translate exceptions of Spark, which quote stack traces of the JVM and the worker, to one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from streaming import errors
from streaming.errors import ExternalError, LeaseError, PomonaError, SnapshotError, first_line
from streaming.spark.resource_exhaustion import explain_exhaustion
from streaming.storage.interface import TransientError
from streaming.storage.remedies import find_remedy

# The cause stands last: in a worker's traceback, or behind the last "Caused by:".
_FOR_USERS = re.compile(rf"{re.escape(errors.__name__)}\.(\w+): ([^\n]+)")
_TRANSIENT = re.compile(
    rf"{re.escape(TransientError.__module__)}\.{TransientError.__name__}: ([^\n]+)"
)
_LEASE_LOST = re.compile(r"pomona\.delta\.LeaseLostException: ([^\n]+)")
_TOO_OLD = "DELTA_UNSUPPORTED_TIME_TRAVEL_BEYOND_DELETED_FILE_RETENTION_DURATION"
#: What keys of a prefix have that S3A cannot list.
NOT_IN_XML = "a control character that XML cannot represent"
_DOTS = "an empty part or a part of dots (a//b.jpg, ./a.jpg)"
# Spark 3.5 lists the key a//b on S3 as a folder that contains itself, and recurses until the stack overflows.
_ENDLESS_LISTING = re.compile(r"StackOverflowError.*HadoopFSUtils.*listLeafFiles", re.DOTALL)
_CONNECTION = re.compile(
    r"time(?:d )?-?out|connect|network|unreachable|unknown ?host|throttl|slow ?down|temporar|\b50[0234]\b",
    re.IGNORECASE,
)
_PYTHON = re.compile(r"^(\w+(?:\.\w+)*(?:Error|Exception): [^\n]+)", re.MULTILINE)
_JAVA = re.compile(r"(?:Caused by: |: )((?:\w+\.)+\w*(?:Exception|Error)(?:: [^\n]+)?)")


@contextmanager
def translate_errors(lake: str = "") -> Iterator[None]:
    """Translate what Spark, the storage, delta-rs or Arrow raises inside the block, see `translate_exception`."""
    from streaming.delta.reader import translate_panics

    try:
        with translate_panics(lake):
            yield
    except _external_errors() as error:
        raise translate_exception(error, lake) from error


def _external_errors() -> tuple[type[Exception], ...]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    from streaming.delta.reader import table_read_errors

    return PySparkException, Py4JError, TransientError, OSError, *table_read_errors()


def translate_exception(error: BaseException, lake: str = "") -> PomonaError:
    """Find the cause of an exception that ended a run.

    Parameters
    ----------
    error : BaseException
    lake : str
        Root of the lake, as a normalized URI; its disk is checked for free space.

    Returns
    -------
    PomonaError
        The error itself if it is one, the `PomonaError` that a worker raised, or an ExternalError of one line.
    """
    if isinstance(error, PomonaError):
        return error
    if exhausted := explain_exhaustion(error, lake):
        return exhausted
    text = str(error)
    for name, message in _FOR_USERS.findall(text)[-1:]:
        kind: type[PomonaError] = getattr(errors, name)
        return kind(message.strip())
    for message in _LEASE_LOST.findall(text)[-1:]:
        return LeaseError(f"{message.strip()}: the new owner processes what was not committed")
    if _TOO_OLD in text:
        return SnapshotError(
            "the version is older than the retention of the table's files, and Delta does not read it: set the "
            "properties delta.deletedFileRetentionDuration and delta.logRetentionDuration, both at once, to a longer "
            "interval (Pomona sets 'interval 3650 days')"
        )
    for pattern in (_TRANSIENT, _PYTHON, _JAVA):
        found = pattern.findall(text)
        if found:
            return ExternalError(f"{found[-1].strip()} ({_advice(found[-1], pattern)})")
    line = first_line(error)
    transient = isinstance(error, TransientError | TimeoutError | ConnectionError)
    return ExternalError(f"{line} ({_advice(line, _TRANSIENT if transient else None)})")


def unlistable_keys(error: BaseException, source: str) -> str:
    """Return what keys of a source have that Spark cannot list; an empty string if that did not cause the error."""
    text = str(error)
    if _ENDLESS_LISTING.search(text):
        return _DOTS
    listing = rf"listObjects\(\) on {re.escape(source)}[/:].*(?:Could not|Failed to) parse XML"
    return NOT_IN_XML if re.search(listing, text) else ""


def _advice(cause: str, pattern: re.Pattern[str] | None) -> str:
    """Return the end of a message: only an error that may be transient is worth the same command again."""
    if remedy := find_remedy(cause):
        return f"no data was lost; {remedy}"
    if pattern is _TRANSIENT or _CONNECTION.search(cause):
        return "no data was lost; rerun the same command to resume"
    return "no data was lost"
