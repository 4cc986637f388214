"""`pomona query`: run a read-only Spark SQL query on a lake."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pomona.output.console import Console


def query(
    lake: LakeArgument,
    sql: Annotated[
        str,
        typer.Argument(metavar="SELECT", help="SQL over features, quarantine, refits and reduced."),
    ],
    as_of: AsOf = None,
    timeout: Annotated[
        str,
        typer.Option(
            metavar="DURATION", help="Cancel the query after this time, such as 45s, 10m or 2h."
        ),
    ] = "5m",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Run a read-only Spark SQL query.

    Use --as-of or VERSION AS OF for time travel. Values are printed as they are stored: a path is a URI, file:/… or s3a://….

    Example: pomona query ./lake "SELECT count(*) FROM features VERSION AS OF 3"
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json cannot be combined: omit one")

    from pomona.output.console import Console
    from pomona.output.durations import parse_duration
    from pomona.queries.session import resolve_as_of
    from pomona.sql.query import run_query

    console = Console(as_json=as_json or as_csv)
    seconds = parse_duration(timeout, "--timeout")
    pinned = resolve_as_of(lake, as_of)
    if pinned:
        console.print(f"as of  {pinned.description}")
    with console.status("running the query"), run_query(lake, sql, pinned, seconds) as frame:
        if as_json:
            _render_json(console, frame)
        elif as_csv:
            _render_csv(console, frame)
        else:
            _render_table(console, frame)


#: Maximum number of rows in a printed table; CSV and JSON print all rows.
MAX_TABLE_ROWS = 100
_MAX_CELL_LENGTH = 60
_CSV_CHUNK_ROWS = 500


def _render_table(console: Console, frame: DataFrame) -> None:
    from pomona.output.tables import TableLayout

    # Spark computes no more partitions than these rows need.
    rows = [tuple(row) for row in _as_text(frame).take(MAX_TABLE_ROWS + 1)]
    keys = {str(index): name for index, name in enumerate(frame.columns)}
    # The first column is always shown.
    layout = TableLayout(shorten=keys, optional=[*keys][:0:-1])
    console.print_table(
        keys,
        [dict(zip(keys, map(_truncate, row), strict=True)) for row in rows[:MAX_TABLE_ROWS]],
        layout,
        raw=True,
    )
    if len(rows) > MAX_TABLE_ROWS:
        console.print(f"… first {MAX_TABLE_ROWS} rows only: --csv and --json print all rows")


def _truncate(cell: str | None) -> str | None:
    if cell is None or len(cell) <= _MAX_CELL_LENGTH:
        return cell
    return f"{cell[: _MAX_CELL_LENGTH - 1]}…"


def _render_csv(console: Console, frame: DataFrame) -> None:
    import pyarrow as pa
    from pyspark.sql.types import NumericType

    from batch_pca.refits.csv_injection import escape_formulas

    rows = (tuple(row) for row in _as_text(frame).toLocalIterator())
    is_number = [isinstance(field.dataType, NumericType) for field in frame.schema.fields]
    console.write(_format_csv([frame.columns]))
    while chunk := list(islice(rows, _CSV_CHUNK_ROWS)):
        columns = [
            column if numeric else escape_formulas(pa.array(column, pa.string())).to_pylist()
            for column, numeric in zip(zip(*chunk, strict=True), is_number, strict=True)
        ]
        console.write(_format_csv(zip(*columns, strict=True)))


def _format_csv(rows: Iterable[Iterable[str | None]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _render_json(console: Console, frame: DataFrame) -> None:
    from pyspark.sql import functions as F

    from streaming.sanitize import escape_json

    duplicates = [name for name, count in Counter(frame.columns).items() if count > 1]
    if duplicates:
        raise UsageError(f"query: duplicate column name {duplicates[0]}: rename one with AS")
    row = F.to_json(F.struct("*"), {"ignoreNullFields": "false"}).alias("row")
    separator = "[\n"
    for result in frame.select(row).toLocalIterator():
        console.write(separator + escape_json(result.row))
        separator = ",\n"
    console.write("[]\n" if separator == "[\n" else "\n]\n")


def _as_text(frame: DataFrame) -> DataFrame:
    """Return the rows with all values as strings, timestamps in UTC."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType

    # Column names may be duplicated.
    renamed = frame.toDF(*(f"c{index}" for index in range(len(frame.columns))))
    nested = (ArrayType, MapType, StructType)
    columns = [
        F.to_json(field.name)
        if isinstance(field.dataType, nested)
        else F.col(field.name).cast("string")
        for field in renamed.schema.fields
    ]
    return renamed.select(*columns)
