"""Read the Parquet files of a pinned version in the Python workers: only file names pass through the JVM.

Spark's reader converts every vector to rows and back to Arrow, which takes longer than the sums. It is still used
if the files alone do not define the table: deletion vectors, column mapping, or files outside the table's folder
(shallow clones).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from streaming.counts import format_count
from streaming.storage.interface import prefix_below
from streaming.storage.range_reader import open_ranges

#: Columns that every file must contain for its rows to be read without Spark.
COLUMNS = ("path", "label", "features")
_BATCH_ROWS = 1024
_MIN_BATCH_ROWS = _BATCH_ROWS // 2
# Parquet footers are small, and each takes two requests on S3: read many in parallel.
_FOOTER_THREADS = 32


@dataclass(frozen=True)
class Slice:
    """Rows `start` to `stop` (exclusive) of one row group of one file."""

    uri: str
    group: int
    start: int
    stop: int

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield these columns of the rows, up to 1,024 rows at a time."""
        file = pa.parquet.ParquetFile(open_ranges(self.uri), pre_buffer=True)
        read = file.iter_batches(
            _BATCH_ROWS, row_groups=[self.group], columns=columns, use_threads=False
        )
        offset = 0
        for batch in read:
            first = max(self.start - offset, 0)
            last = min(self.stop - offset, batch.num_rows)
            if first < last:
                yield batch.slice(first, last - first).select(columns)
            offset += batch.num_rows
            if offset >= self.stop:
                return


@dataclass(frozen=True)
class Part:
    """The rows that one worker reads."""

    slices: tuple[Slice, ...]

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield these columns of the rows in the given order, in batches of about 1,024 rows."""
        yield from merge_small_batches(
            batch for piece in self.slices for batch in piece.batches(columns)
        )


def merge_small_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Concatenate neighbors until they have at least 512 rows, or the schema changes.

    A stream writes files of a few rows. To sum a batch, a matrix of all pairs of columns is updated, which takes
    milliseconds regardless of the number of rows.
    """
    small: list[pa.RecordBatch] = []
    for batch in batches:
        if small and batch.schema != small[0].schema:
            yield _concatenate(small)
            small = []
        small.append(batch)
        if sum(piece.num_rows for piece in small) >= _MIN_BATCH_ROWS:
            yield _concatenate(small)
            small = []
    if small:
        yield _concatenate(small)


def _concatenate(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def feature_matrix(column: pa.ListArray) -> NDArray[np.float32]:
    """Return the vectors of an Arrow column as a matrix of shape (rows, width), without a copy.

    Raises
    ------
    ValueError
        If vectors are null or have different lengths. A null value is NaN.
    """
    if not len(column):
        return np.empty((0, 0), np.float32)
    lengths = pa.compute.list_value_length(column).to_numpy(zero_copy_only=False)
    if (lengths != lengths[0]).any():  # the length of null is NaN, which equals nothing
        raise ValueError(
            f"vectors among {format_count(len(column), 'row')} are null or have another length"
        )
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def feature_matrices(
    batches: Iterator[pa.RecordBatch], column: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors of each batch that is not empty."""
    for batch in batches:
        if batch.num_rows:
            yield feature_matrix(batch.column(column))


def filter_prefix(batch: pa.RecordBatch, prefix: str | None) -> pa.RecordBatch:
    """Return the rows of a batch whose ``path`` is below a prefix; all rows if it is None."""
    if prefix is None:
        return batch
    return batch.filter(pa.compute.starts_with(batch.column("path"), prefix_below(prefix)))


def plan_parts(files: Sequence[str], location: str, count: int, workers: int) -> list[Part] | None:
    """Partition the rows of a pinned version evenly.

    Parameters
    ----------
    files : sequence of str
        Names of the data files as they are in the transaction log: percent-encoded paths relative to the table, or
        URIs.
    location : str
        Normalized URI of the table.
    count : int
        Number of rows of the version.
    workers : int
        Maximum number of parts.

    Returns
    -------
    list of Part, or None
        None if the files alone do not define the table: a file is outside the table's folder or lacks a column, or
        the files do not contain `count` rows (deletion vectors). Spark must then read the table.
    """
    # For a file outside the table, the name is a URI, and no file below the table has that name.
    uris = [f"{location}/{unquote(name)}" for name in sorted(files)]
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        groups = list(pool.map(_row_groups, uris))
    if None in groups or sum(map(sum, filter(None, groups))) != count:
        return None
    slices = [
        Slice(uri, group, 0, size)
        for uri, sizes in zip(uris, groups, strict=True)
        for group, size in enumerate(sizes or ())
    ]
    return split_evenly(slices, workers)


def _row_groups(uri: str) -> list[int] | None:
    """Return the number of rows of each row group; None if the file cannot be read or lacks a column."""
    try:
        footer = pa.parquet.read_metadata(open_ranges(uri))
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    if not set(COLUMNS) <= set(footer.schema.to_arrow_schema().names):
        return None
    return [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]


def split_evenly(slices: list[Slice], count: int) -> list[Part]:
    """Split slices into at most `count` parts whose sizes differ by at most one row.

    If a row group is split, both parts decode its beginning. That takes little time compared to the sums.
    """
    total = sum(piece.stop - piece.start for piece in slices)
    ends = [total * (i + 1) // count for i in range(count)]
    parts: list[list[Slice]] = [[] for _ in ends]
    index = row = 0
    for piece in slices:
        start = piece.start
        while start < piece.stop:
            while ends[index] <= row:
                index += 1
            size = min(piece.stop - start, ends[index] - row)
            parts[index].append(replace(piece, start=start, stop=start + size))
            start, row = start + size, row + size
    return [Part(tuple(part)) for part in parts if part]
