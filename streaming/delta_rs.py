"""Delta tables without Spark: delta-rs answers in milliseconds what would take Spark several jobs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa

from streaming.storage import is_s3

if TYPE_CHECKING:
    from deltalake import DeltaTable


def open_table(location: str, version: int | None = None) -> DeltaTable:
    """Open a table, as it is now or as of a version.

    Parameters
    ----------
    location : str
        Normalized URI; on S3, credentials are found as boto3 finds them.
    version : int, optional
    """
    from deltalake import DeltaTable

    options = _options(location)
    return DeltaTable(location.removeprefix("file:"), version=version, storage_options=options)


def open_tables(*locations: str) -> list[DeltaTable]:
    """Open tables of one lake at the same time, with one look for credentials."""
    from deltalake import DeltaTable

    options = _options(locations[0])
    with ThreadPoolExecutor(len(locations)) as pool:
        return list(
            pool.map(
                lambda location: DeltaTable(
                    location.removeprefix("file:"), storage_options=options
                ),
                locations,
            )
        )


def _options(location: str) -> dict[str, str]:
    if not is_s3(location):
        return {}
    from streaming.s3 import delta_rs_options

    return delta_rs_options()


def query(table: DeltaTable, columns: str, rest: str = "") -> Iterator[pa.RecordBatch]:
    """Ask a table in SQL: ``SELECT columns FROM it rest``, batch by batch."""
    from deltalake import QueryBuilder

    asked = f"SELECT {columns} FROM the_table {rest}"
    found = QueryBuilder().register("the_table", table).execute(asked)
    yield from pa.RecordBatchReader.from_stream(found)


def changes(table: DeltaTable, after: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Read the Change Data Feed from behind a version up to the one that is open.

    Parameters
    ----------
    table : DeltaTable
    after : int
    columns : list of str
        ``_change_type`` tells what became of a row.

    Yields
    ------
    pyarrow.RecordBatch
        Text as plain strings.

    Raises
    ------
    DeltaError, pyarrow.ArrowException, OSError
        Where the feed was not on, or its files are vacuumed away.
    """
    feed = table.load_cdf(
        starting_version=after + 1, ending_version=table.version(), columns=columns
    )
    for batch in pa.RecordBatchReader.from_stream(feed):
        plain = [
            field.with_type(pa.string()) if field.type == pa.string_view() else field
            for field in batch.schema
        ]
        yield batch.cast(pa.schema(plain))


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
