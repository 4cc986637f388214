"""Run a validated Spark SQL query on a lake, read-only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame

from pomona.output.durations import format_duration
from pomona.queries.session import open_lake, translate_read_errors
from pomona.sql.catalog import TABLES, open_catalog_session, register_tables
from pomona.sql.deadline import limit_time
from pomona.sql.validate import first_line, validate_query
from streaming.arguments import check_argument
from streaming.errors import PomonaError, UsageError
from streaming.lake.version_spec import VersionSpec
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.spark.errors import translate_exception
from streaming.spark.resource_exhaustion import is_out_of_memory, more_memory
from streaming.spark.session import start_session
from streaming.storage.interface import escape_name, is_s3

#: Seconds that a query may take.
DEFAULT_TIMEOUT = 300.0


@contextmanager
def run_query(
    location: str,
    text: str,
    as_of: VersionSpec | ResolvedVersion | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Iterator[DataFrame]:
    """Run a query and yield the result as a DataFrame, which is valid inside the `with` block.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    text : str
        One SELECT over ``features``, ``quarantine``, ``refits`` and ``reduced``.
    as_of : str, int, date or ResolvedVersion, optional
        Version of the features. All tables are read as of that version; the query may then not use time travel.
    timeout : float
        Seconds after which the query is canceled, the time in the `with` block included.

    Raises
    ------
    UsageError
        If the query is not a single SELECT on these tables, or `timeout` is out of range; nothing was executed.
    PomonaError
        If the query or reading the lake fails, takes longer than `timeout`, or needs more memory than Java has.
    """
    text = escape_name(check_argument("sql", text, str))
    timeout = check_argument("timeout", timeout, float)
    if not 0 < timeout <= threading.TIMEOUT_MAX:
        raise UsageError(f"query: timeout {timeout!r}: give a number of seconds above 0")
    lake = open_lake(location)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of) if as_of is not None else None
    spark = start_session(s3=is_s3(lake.root))
    with limit_time(spark, timeout) as deadline:
        try:
            with open_catalog_session(spark) as session:
                tables = validate_query(session, text, TABLES, allow_time_travel=pinned is None)
                with translate_read_errors():
                    register_tables(session, lake, tables, pinned)
                yield session.sql(text)
        except (PomonaError, PySparkException, Py4JError, EOFError, OSError) as error:
            if deadline.is_over:
                raise PomonaError(
                    f"query: canceled after {format_duration(timeout)}: select less, or give more time with --timeout"
                ) from error
            if isinstance(error, PomonaError):
                raise
            raise _explain(error) from error


def _explain(error: Exception) -> PomonaError:
    """Return the error of one line for an exception of a query."""
    if is_out_of_memory(error):
        return PomonaError(f"query: {more_memory()}, or select less")
    text = str(error)
    if "StackOverflowError" in text:
        return UsageError("query: it is nested too deeply: split it, or remove parentheses")
    line = first_line(error)
    if isinstance(error, AnalysisException):  # no such column, no such version
        return UsageError(f"query: {line}")
    return PomonaError(f"query: {line}") if line.startswith("[") else translate_exception(error)
