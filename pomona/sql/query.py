"""Run a validated Spark SQL query on a lake, read-only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame

from pomona.queries.session import open_lake, translate_read_errors
from pomona.sql.catalog import TABLES, open_catalog_session, register_tables
from pomona.sql.validate import first_line, validate_query
from streaming.errors import PomonaError, UsageError
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.spark.errors import translate_exception
from streaming.spark.session import start_session
from streaming.storage.interface import is_s3


@contextmanager
def run_query(
    location: str, text: str, as_of: str | ResolvedVersion | None = None
) -> Iterator[DataFrame]:
    """Run a query and yield the result as a DataFrame, which is valid inside the `with` block.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    text : str
        One SELECT over ``features``, ``quarantine``, ``refits`` and ``reduced``.
    as_of : str or ResolvedVersion, optional
        Version of the features. All tables are read as of that version; the query may then not use time travel.

    Raises
    ------
    UsageError
        If the query is not a single SELECT on these tables; nothing was executed.
    PomonaError
        If the query or reading the lake fails.
    """
    lake = open_lake(location)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of) if as_of is not None else None
    spark = start_session(s3=is_s3(lake.root))
    try:
        with open_catalog_session(spark, lake) as session:
            tables = validate_query(session, text, TABLES, allow_time_travel=pinned is None)
            with translate_read_errors():
                register_tables(session, lake, tables, pinned)
            yield session.sql(text)
    except AnalysisException as error:  # no such column, no such version
        raise UsageError(f"query: {first_line(error)}") from error
    except (PySparkException, Py4JError) as error:
        line = first_line(error)
        raise (
            PomonaError(f"query: {line}") if line.startswith("[") else translate_exception(error)
        ) from error
