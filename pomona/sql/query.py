"""`pomona query`: Spark SQL over a lake, read only, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, MapType, NumericType, StructType

from batch_pca.refits.csv_injection import harmless
from pomona.output.console import Screen
from pomona.queries.session import explained, open_lake, pin
from pomona.sql.catalog import TABLES, lake_session, register
from pomona.sql.validate import check_query, first_line
from streaming.errors import PomonaError, UsageError
from streaming.lake.versions import Pinned, resolve
from streaming.sanitize import visible_json
from streaming.spark.errors import explain
from streaming.spark.session import start_session
from streaming.storage.interface import is_s3

#: Rows that a table on the screen shows; CSV and JSON have all.
SHOWN = 100
_CELL = 60
_CHUNK = 500


@contextmanager
def answered(location: str, text: str, as_of: str | Pinned | None = None) -> Iterator[DataFrame]:
    """The answer of a query, as a DataFrame that lives as long as the block.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    text : str
        One SELECT over ``features``, ``quarantine``, ``refits`` and ``reduced``.
    as_of : str or Pinned, optional
        The version of the features with which all of them are asked as they were; the text may then ask for no other.

    Raises
    ------
    UsageError
        Where it is anything else; nothing has run then.
    PomonaError
        Where the query fails, or the lake.
    """
    lake = open_lake(location)
    with explained():
        pinned = resolve(lake, as_of) if as_of is not None else None
    spark = start_session(s3=is_s3(lake.root))
    try:
        with lake_session(spark, lake) as session:
            found = check_query(session, text, TABLES, past=pinned is None)
            with explained():
                register(session, lake, found, pinned)
            yield session.sql(text)
    except AnalysisException as error:  # no such column, no such version
        raise UsageError(f"query: {first_line(error)}") from error
    except (PySparkException, Py4JError) as error:
        line = first_line(error)
        raise (PomonaError(f"query: {line}") if line.startswith("[") else explain(error)) from error


def query_and_tell(
    lake: str, text: str, as_of: str | None = None, *, as_csv: bool, as_json: bool
) -> None:
    """Run a query, and print its answer."""
    screen = Screen(as_json=as_json or as_csv)
    pinned = pin(lake, as_of)
    if pinned:
        screen.line(f"as of  {pinned.said}")
    with screen.working("asking"), answered(lake, text, pinned) as frame:
        if as_json:
            _tell_json(screen, frame)
        elif as_csv:
            _tell_csv(screen, frame)
        else:
            _tell_table(screen, frame)


def _tell_table(screen: Screen, frame: DataFrame) -> None:
    found = list(islice(_as_text(frame), SHOWN + 1))
    keys = {str(place): name for place, name in enumerate(frame.columns)}
    screen.table(keys, [dict(zip(keys, map(_short, row), strict=True)) for row in found[:SHOWN]])
    if len(found) > SHOWN:
        screen.line(f"… the first {SHOWN} rows: --csv and --json print all, LIMIT fewer")


def _short(cell: str | None) -> str | None:
    return cell if cell is None or len(cell) <= _CELL else f"{cell[: _CELL - 1]}…"


def _tell_csv(screen: Screen, frame: DataFrame) -> None:
    rows = _as_text(frame)
    numbers = [isinstance(field.dataType, NumericType) for field in frame.schema.fields]
    screen.write(_csv([frame.columns]))
    while chunk := list(islice(rows, _CHUNK)):
        columns = [
            column if number else harmless(pa.array(column, pa.string())).to_pylist()
            for column, number in zip(zip(*chunk, strict=True), numbers, strict=True)
        ]
        screen.write(_csv(zip(*columns, strict=True)))


def _csv(rows: Iterable[Iterable[str | None]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _tell_json(screen: Screen, frame: DataFrame) -> None:
    twice = [name for name, count in Counter(frame.columns).items() if count > 1]
    if twice:
        raise UsageError(f"query: two columns are called {twice[0]}: name them apart with AS")
    row = F.to_json(F.struct("*"), {"ignoreNullFields": "false"}).alias("row")
    before = "[\n"
    for found in frame.select(row).toLocalIterator():
        screen.write(before + visible_json(found.row))
        before = ",\n"
    screen.write("[]\n" if before == "[\n" else "\n]\n")


def _as_text(frame: DataFrame) -> Iterator[tuple[str | None, ...]]:
    """The rows with all values as text, times in UTC; never more than a partition of them in memory."""
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
