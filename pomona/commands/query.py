"""`pomona query`: run a read-only Spark SQL query on a lake."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
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
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Run a read-only Spark SQL query.

    Use --as-of or VERSION AS OF for time travel.

    Example: pomona query ./lake "SELECT count(*) FROM features VERSION AS OF 3"
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json: give one of the two")

    from pomona.output.console import Console
    from pomona.queries.session import resolve_as_of
    from pomona.sql.query import run_query

    console = Console(as_json=as_json or as_csv)
    pinned = resolve_as_of(lake, as_of)
    if pinned:
        console.line(f"as of  {pinned.description}")
    with console.working("asking"), run_query(lake, sql, pinned) as frame:
        if as_json:
            _render_json(console, frame)
        elif as_csv:
            _render_csv(console, frame)
        else:
            _render_table(console, frame)


#: Rows that a table on the screen shows; CSV and JSON have all.
SHOWN = 100
_CELL = 60
_CHUNK = 500


def _render_table(console: Console, frame: DataFrame) -> None:
    found = list(islice(_as_text(frame), SHOWN + 1))
    keys = {str(place): name for place, name in enumerate(frame.columns)}
    console.table(
        keys, [dict(zip(keys, map(_short, row), strict=True)) for row in found[:SHOWN]], raw=True
    )
    if len(found) > SHOWN:
        console.line(f"… the first {SHOWN} rows: --csv and --json print all, LIMIT fewer")


def _short(cell: str | None) -> str | None:
    return cell if cell is None or len(cell) <= _CELL else f"{cell[: _CELL - 1]}…"


def _render_csv(console: Console, frame: DataFrame) -> None:
    import pyarrow as pa
    from pyspark.sql.types import NumericType

    from batch_pca.refits.csv_injection import escape_formulas

    rows = _as_text(frame)
    numbers = [isinstance(field.dataType, NumericType) for field in frame.schema.fields]
    console.write(_csv([frame.columns]))
    while chunk := list(islice(rows, _CHUNK)):
        columns = [
            column if number else escape_formulas(pa.array(column, pa.string())).to_pylist()
            for column, number in zip(zip(*chunk, strict=True), numbers, strict=True)
        ]
        console.write(_csv(zip(*columns, strict=True)))


def _csv(rows: Iterable[Iterable[str | None]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _render_json(console: Console, frame: DataFrame) -> None:
    from pyspark.sql import functions as F

    from streaming.sanitize import escape_json

    twice = [name for name, count in Counter(frame.columns).items() if count > 1]
    if twice:
        raise UsageError(f"query: two columns are called {twice[0]}: rename one with AS")
    row = F.to_json(F.struct("*"), {"ignoreNullFields": "false"}).alias("row")
    before = "[\n"
    for found in frame.select(row).toLocalIterator():
        console.write(before + escape_json(found.row))
        before = ",\n"
    console.write("[]\n" if before == "[\n" else "\n]\n")


def _as_text(frame: DataFrame) -> Iterator[tuple[str | None, ...]]:
    """The rows with all values as text, times in UTC; never more than a partition of them in memory."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType

    names = [f"c{place}" for place in range(len(frame.columns))]  # two of them may be the same
    plain = frame.toDF(*names)
    nested = (ArrayType, MapType, StructType)
    columns = [
        F.to_json(field.name)
        if isinstance(field.dataType, nested)
        else F.col(field.name).cast("string")
        for field in plain.schema.fields
    ]
    for row in plain.select(*columns).toLocalIterator():
        yield tuple(row)
