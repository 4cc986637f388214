"""Read the Parquet files of a pinned version in the Python workers: only file names pass through the JVM.

Spark's reader converts every vector to rows and back to Arrow, which takes longer than the sums. It is still used
if the files alone do not define the table: deletion vectors, column mapping, or files outside the table's folder
(shallow clones).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from streaming.storage.range_reader import open_ranges

#: What every file of the features must have, for its rows to be read without Spark.
COLUMNS = ("path", "label", "features")
_BATCH_ROWS = 1024
# Footers are small, and on S3 each is two requests: many at once.
_FOOTERS_AT_ONCE = 32


@dataclass(frozen=True)
class Slice:
    """Rows `start` to `stop` of one row group of one file."""

    uri: str
    group: int
    start: int
    stop: int

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of the rows, 1,024 at a time."""
        file = pa.parquet.ParquetFile(open_ranges(self.uri), pre_buffer=True)
        read = file.iter_batches(
            _BATCH_ROWS, row_groups=[self.group], columns=columns, use_threads=False
        )
        at = 0
        for batch in read:
            first, last = max(self.start - at, 0), min(self.stop - at, batch.num_rows)
            if first < last:
                yield batch.slice(first, last - first).select(columns)
            at += batch.num_rows
            if at >= self.stop:
                return


@dataclass(frozen=True)
class Part:
    """What one worker reads."""

    slices: tuple[Slice, ...]

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of the rows, in the order given, at most 1,024 rows at a time."""
        for piece in self.slices:
            yield from piece.batches(columns)


def feature_matrix(column: pa.ListArray) -> NDArray[np.float32]:
    """The vectors of an Arrow batch.

    Returns
    -------
    ndarray of shape (rows, width), float32
        Without a copy.
    """
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def matrices(batches: Iterator[pa.RecordBatch], column: int) -> Iterator[NDArray[np.float32]]:
    """The vectors of each batch that has rows."""
    for batch in batches:
        if batch.num_rows:
            yield feature_matrix(batch.column(column))


def below(batch: pa.RecordBatch, prefix: str | None) -> pa.RecordBatch:
    """The rows of a batch whose ``path`` lies below a prefix; all of them without one."""
    if prefix is None:
        return batch
    return batch.filter(pa.compute.starts_with(batch.column("path"), f"{prefix}/"))


def plan_parts(files: Sequence[str], location: str, count: int, workers: int) -> list[Part] | None:
    """Deal the rows of a pinned version out to workers, evenly.

    Parameters
    ----------
    files : sequence of str
        The version's files as its log names them: below the table and percent-encoded, or as URIs.
    location : str
        The table, a normalized URI.
    count : int
        Rows that the version has.
    workers : int

    Returns
    -------
    list of Part, or None
        One for each worker at most. None where the files alone do not tell the table: a file lies outside, lacks a
        column, or the rows in the files are not `count` (deletion vectors). Spark must read it then.
    """
    # A file that lies outside has a URI for its name: nothing of that name lies below the table.
    uris = [f"{location}/{unquote(name)}" for name in sorted(files)]
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        groups = list(pool.map(_row_groups, uris))
    if None in groups or sum(map(sum, filter(None, groups))) != count:
        return None
    found = [
        Slice(uri, group, 0, size)
        for uri, sizes in zip(uris, groups, strict=True)
        for group, size in enumerate(sizes or ())
    ]
    return deal(found, workers)


def _row_groups(uri: str) -> list[int] | None:
    """Rows of each row group; None where the file cannot be read as it is."""
    try:
        footer = pa.parquet.read_metadata(open_ranges(uri))
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    if not set(COLUMNS) <= set(footer.schema.to_arrow_schema().names):
        return None
    return [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]


def deal(found: list[Slice], count: int) -> list[Part]:
    """Cut slices into at most `count` parts of as many rows each, one row more or less.

    Where a row group is cut, both sides decode its beginning; that is short beside what is done with the rows.
    """
    total = sum(piece.stop - piece.start for piece in found)
    ends = [total * (i + 1) // count for i in range(count)]
    hands: list[list[Slice]] = [[] for _ in ends]
    place = at = 0
    for piece in found:
        start = piece.start
        while start < piece.stop:
            while ends[place] <= at:
                place += 1
            taken = min(piece.stop - start, ends[place] - at)
            hands[place].append(replace(piece, start=start, stop=start + taken))
            start, at = start + taken, at + taken
    return [Part(tuple(hand)) for hand in hands if hand]


def run_parts(spark: SparkSession, work: Any, ddl: str, count: int) -> DataFrame:
    """Call `work` once for each of `count` parts, in a Python worker.

    Parameters
    ----------
    spark : SparkSession
    work : callable
        Takes batches of one row with the number of a part; gives batches of `ddl`.
    ddl : str
        What comes out.
    count : int
        How many parts there are, each a task.
    """
    return spark.range(0, count, 1, count).mapInArrow(work, ddl)
