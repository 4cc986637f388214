"""Read Delta tables without Spark: delta-rs needs milliseconds for what takes Spark several jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from streaming.storage.interface import TransientError, is_s3
from streaming.storage.retry import retry_transient

if TYPE_CHECKING:
    from deltalake import DeltaTable


def open_table(location: str, version: int | None = None) -> DeltaTable:
    """Open a table, as it is now or as of a version.

    Parameters
    ----------
    location : str
        Normalized URI; on S3, credentials are found as boto3 finds them.
    version : int, optional

    Raises
    ------
    TransientError
        When S3 did not hand it out for longer than patience lasts.
    """
    return _open(location, _options(location), version)


def _open(location: str, options: dict[str, str], version: int | None = None) -> DeltaTable:
    from deltalake import DeltaTable

    def open_() -> DeltaTable:
        with _may_pass(location):
            path = location.removeprefix("file:")
            return DeltaTable(path, version=version, storage_options=options)

    return retry_transient(open_)


def table_read_errors() -> tuple[type[Exception], type[Exception]]:
    """What delta-rs and Arrow raise where files of a table are damaged or gone."""
    from deltalake.exceptions import DeltaError

    return DeltaError, pa.ArrowException


@contextmanager
def _may_pass(location: str) -> Iterator[None]:
    """What delta-rs cannot read of S3, after tries of its own, as the fault that it is."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        if not is_s3(location):
            raise
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # it colours its messages
        raise TransientError(f"{location}: {' '.join(text.split())}") from error


def open_tables(*locations: str) -> list[DeltaTable]:
    """Open tables of one lake at the same time, with one look for credentials."""
    options = _options(locations[0])
    with ThreadPoolExecutor(len(locations)) as pool:
        return list(pool.map(lambda location: _open(location, options), locations))


def _options(location: str) -> dict[str, str]:
    if not is_s3(location):
        return {}
    from streaming.storage.s3_client import delta_rs_options

    return delta_rs_options()


def query(table: DeltaTable, columns: str, rest: str = "") -> Iterator[pa.RecordBatch]:
    """Ask a table in SQL: ``SELECT columns FROM it rest``, batch by batch; as of `open_table`, it may be in vain."""
    with _asked(table, columns, rest) as found:
        yield from found


def query_arrow(table: DeltaTable, columns: str, rest: str = "") -> pa.Table:
    """The same as one Arrow table, with text as plain strings, which all readers know."""
    with _asked(table, columns, rest) as found:
        answer = found.read_all()
    return answer.cast(_plain(answer.schema))


@contextmanager
def _asked(table: DeltaTable, columns: str, rest: str) -> Iterator[pa.RecordBatchReader]:
    from deltalake import QueryBuilder

    asked = f"SELECT {columns} FROM the_table {rest}"
    with _may_pass(table.table_uri.replace("s3://", "s3a://", 1)):
        found = QueryBuilder().register("the_table", table).execute(asked)
        yield pa.RecordBatchReader.from_stream(found)


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        field.with_type(pa.string()) if field.type == pa.string_view() else field
        for field in schema
    )


def query_rows(table: DeltaTable, columns: str, rest: str = "") -> list[dict[str, Any]]:
    """What a table answers, as plain rows; see `query`."""
    return [row for batch in query(table, columns, rest) for row in batch_to_rows(batch)]


def batch_to_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows of a batch, times in UTC; Arrow alone would import pandas, for half a second, to make times of numbers."""
    times = [field.name for field in batch.schema if pa.types.is_timestamp(field.type)]
    for name in times:
        micros = batch.column(name).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        batch = batch.set_column(batch.schema.get_field_index(name), name, micros)
    rows: list[dict[str, Any]] = batch.to_pylist()
    for row in rows:
        row |= {name: _moment(row[name]) for name in times if row[name] is not None}
    return rows


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def read_change_feed(
    table: DeltaTable, after: int, columns: list[str], only: str | None = None
) -> Iterator[pa.RecordBatch]:
    """Read the Change Data Feed from behind a version up to the one that is open.

    Parameters
    ----------
    table : DeltaTable
    after : int
    columns : list of str
        ``_change_type`` tells what became of a row.
    only : str, optional
        A condition in SQL on the rows.

    Yields
    ------
    pyarrow.RecordBatch
        Text as plain strings.

    Raises
    ------
    DeltaError, pyarrow.ArrowException, OSError
        Where the feed was not on, or its files are vacuumed away.
    """
    feed = table.load_cdf(after + 1, table.version(), columns=columns, predicate=only)
    for batch in pa.RecordBatchReader.from_stream(feed):
        yield batch.cast(_plain(batch.schema))


def quote_literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
