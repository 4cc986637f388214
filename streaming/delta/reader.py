"""Read Delta tables with delta-rs, without Spark: a query takes milliseconds instead of several Spark jobs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pyarrow as pa

from streaming.delta.external_files import check_changes, check_files
from streaming.errors import LakeError
from streaming.storage.interface import TransientError, is_s3
from streaming.storage.retry import retry_transient

if TYPE_CHECKING:
    from deltalake import DeltaTable

# More paths than this are compared here with all paths of the table.
_MAX_PATHS_IN_CONDITION = 500


def open_table(location: str, version: int | None = None) -> DeltaTable:
    """Open a table at a version, by default the latest.

    Parameters
    ----------
    location : str
        Normalized URI. On S3, boto3 provides the credentials.
    version : int, optional

    Raises
    ------
    TransientError
        If S3 requests still failed after the retry timeout.
    """
    return _open(location, _options(location), version)


def _open(location: str, options: dict[str, str], version: int | None = None) -> DeltaTable:
    from deltalake import DeltaTable

    def open_once() -> DeltaTable:
        with _translate_errors(location):
            # delta-rs parses the location of an object as a URL, and that of a folder as a path.
            path = quote(location, safe=":/") if is_s3(location) else location.removeprefix("file:")
            return DeltaTable(path, version=version, storage_options=options)

    check_files(location, version)
    return retry_transient(open_once)


def table_read_errors() -> tuple[type[Exception], type[Exception]]:
    """Return the exceptions that delta-rs and Arrow raise if files of a table are damaged or missing."""
    if "deltalake" not in sys.modules:  # repeating an import that Ctrl-C has interrupted panics
        return pa.ArrowException, pa.ArrowException
    from deltalake.exceptions import DeltaError

    return DeltaError, pa.ArrowException


@contextmanager
def _translate_errors(location: str) -> Iterator[None]:
    """Raise TransientError for S3 errors of delta-rs, which it has retried already, and LakeError for a panic."""
    try:
        with translate_panics(location):
            yield
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        if not is_s3(location):
            raise
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # ANSI color codes
        raise TransientError(f"{location}: {' '.join(text.split())}") from error


@contextmanager
def translate_panics(location: str = "") -> Iterator[None]:
    """Raise LakeError if delta-rs panics, which is a BaseException that no package exports."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise LakeError(
            f"{location or 'the lake'}: delta-rs cannot read this table ({' '.join(str(error).split())}); "
            "nothing was changed: check the path and the files of the table"
        ) from error


def open_tables(*locations: str) -> list[DeltaTable]:
    """Open tables of one lake concurrently; credentials are looked up once."""
    options = _options(locations[0])
    with ThreadPoolExecutor(len(locations)) as pool:
        return list(pool.map(lambda location: _open(location, options), locations))


def _options(location: str) -> dict[str, str]:
    if not is_s3(location):
        return {}
    from streaming.storage.s3_client import delta_rs_options

    return delta_rs_options()


def query(table: DeltaTable, columns: str, clauses: str = "") -> Iterator[pa.RecordBatch]:
    """Run the SQL query ``SELECT columns FROM table clauses``, and yield its batches.

    Raises
    ------
    TransientError
        If S3 requests failed.
    """
    with _open_query(table, columns, clauses) as reader:
        yield from reader


def query_arrow(table: DeltaTable, columns: str, clauses: str = "") -> pa.Table:
    """Run a `query`, and return an Arrow table with strings as ``pa.string()``, which all readers support."""
    with _open_query(table, columns, clauses) as reader:
        result = reader.read_all()
    return result.cast(strings_as_plain(result.schema))


@contextmanager
def _open_query(table: DeltaTable, columns: str, clauses: str) -> Iterator[pa.RecordBatchReader]:
    from deltalake import QueryBuilder

    sql = f"SELECT {columns} FROM the_table {clauses}"
    with _translate_errors(_location(table)):
        stream = QueryBuilder().register("the_table", table).execute(sql)
        yield pa.RecordBatchReader.from_stream(stream)


def _location(table: DeltaTable) -> str:
    """Return the normalized URI of a table."""
    uri = table.table_uri.replace("s3://", "s3a://", 1).replace("file:///", "file:/", 1)
    return unquote(uri).rstrip("/")


def strings_as_plain(schema: pa.Schema) -> pa.Schema:
    """Return a schema with ``pa.string()`` instead of string views, which not all readers support."""
    return pa.schema(
        field.with_type(pa.string()) if field.type == pa.string_view() else field
        for field in schema
    )


def query_rows(table: DeltaTable, columns: str, clauses: str = "") -> list[dict[str, Any]]:
    """Run a `query`, and return its rows as dictionaries."""
    return [row for batch in query(table, columns, clauses) for row in batch_to_rows(batch)]


def batch_to_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the rows of a batch as dictionaries, with timestamps in UTC.

    Timestamps are converted here, since Arrow would import pandas for that, which takes half a second.
    """
    times = [field.name for field in batch.schema if pa.types.is_timestamp(field.type)]
    for name in times:
        micros = batch.column(name).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        batch = batch.set_column(batch.schema.get_field_index(name), name, micros)
    rows: list[dict[str, Any]] = batch.to_pylist()
    for row in rows:
        row |= {name: _timestamp(row[name]) for name in times if row[name] is not None}
    return rows


def _timestamp(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def read_change_feed(
    table: DeltaTable, after: int, columns: list[str], predicate: str | None = None
) -> Iterator[pa.RecordBatch]:
    """Read the Change Data Feed after a version, up to the version at which the table was opened.

    Parameters
    ----------
    table : DeltaTable
    after : int
        Version; its own changes are not included.
    columns : list of str
        ``_change_type`` is the kind of change of a row.
    predicate : str, optional
        SQL condition that selects rows.

    Yields
    ------
    pyarrow.RecordBatch
        Strings are ``pa.string()``.

    Raises
    ------
    DeltaError, pyarrow.ArrowException, OSError
        If the feed was not enabled, or VACUUM deleted its files.
    """
    check_changes(_location(table), after + 1, table.version())
    with translate_panics(_location(table)):
        feed = table.load_cdf(after + 1, table.version(), columns=columns, predicate=predicate)
        for batch in pa.RecordBatchReader.from_stream(feed):
            yield batch.cast(strings_as_plain(batch.schema))


def quote_literal(text: str) -> str:
    """Return a string literal for SQL queries of delta-rs."""
    return "'" + text.replace("'", "''") + "'"


def existing_paths(location: str, paths: Iterable[str]) -> set[str]:
    """Return those of the image paths that have a row in a table; none if the table does not exist yet.

    The table is read once, however many paths there are. A condition on few paths lets delta-rs skip files.
    """
    from deltalake.exceptions import TableNotFoundError

    existing, wanted = set[str](), set(paths)
    if not wanted:
        return existing
    try:
        table = open_table(location)
    except TableNotFoundError:
        return existing
    condition = ""
    if len(wanted) <= _MAX_PATHS_IN_CONDITION:
        condition = f"WHERE path IN ({', '.join(map(quote_literal, wanted))})"
    for batch in query(table, "path", condition):
        existing.update(wanted.intersection(batch.column(0).to_pylist()))
    return existing
