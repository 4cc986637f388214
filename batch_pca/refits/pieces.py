"""Write one partition of the reduced rows in a Python worker: a Parquet file, and a piece of the CSV."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from batch_pca.refits.csv_injection import escape_formulas
from batch_pca.refits.folder import RefitFolder
from batch_pca.refits.label_means import LabelSums
from batch_pca.refits.transform import Keyed, Partitioning, from_ipc

#: Number of components that the report shows at most.
PLOTTED_COMPONENTS = 8
_CSV_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Piece:
    """The files of one partition, and its share of the sample for the report.

    Attributes
    ----------
    number : int
        Number of the partition; partitions are in the order of their paths.
    parquet : str
        Name of the file in `RefitFolder.parquet`.
    csv : str
        Name of the piece of the CSV, relative to the folder of the refit.
    csv_bytes : int
        Size of the piece of the CSV.
    paths, labels : list of m str
    points : ndarray of shape (m, c), float64
    """

    number: int
    parquet: str
    csv: str
    csv_bytes: int
    paths: list[str]
    labels: list[str]
    points: NDArray[np.float64]


@dataclass(frozen=True)
class PieceWriter:
    """Function for `RDD.mapPartitionsWithIndex`: from the items of `batch_pca.refits.transform.project` to files.

    Attributes
    ----------
    folder : RefitFolder
    partitioning : Partitioning
    step : int
        Every `step`-th row is in the sample.
    """

    folder: RefitFolder
    partitioning: Partitioning
    step: int

    def __call__(self, number: int, items: Iterable[Keyed]) -> Iterator[Piece | bytes]:
        """Yield the piece of a partition that has rows, or the total of the sums by label."""
        if number == self.partitioning.sums:
            total = LabelSums()
            for _, content in items:
                total.merge(LabelSums.from_bytes(content))
            yield total.to_bytes()
            return
        tables = [from_ipc(content) for _, content in items]
        if tables:
            yield self._write(number, _sorted(tables))

    def _write(self, number: int, rows: pa.Table) -> Piece:
        # If Spark runs a task twice, each attempt has names of its own.
        name = f"part-{number:05}-{uuid.uuid4()}"
        piece = self.folder.csv_piece(name)
        self.folder.write(f"parquet/{name}.snappy.parquet", _to_parquet(rows))
        lines = _to_csv(rows)
        self.folder.write(piece, lines)
        sample = rows.take(pa.array(np.arange(0, rows.num_rows, self.step)))
        return Piece(
            number,
            f"{name}.snappy.parquet",
            piece,
            len(lines),
            sample.column("path").to_pylist(),
            sample.column("label").to_pylist(),
            _scores(sample.column("reduced"))[:, :PLOTTED_COMPONENTS].copy(),
        )


def csv_header(k: int) -> bytes:
    """Return the first line of a CSV with `k` components."""
    return _csv_lines(pa.table({name: [] for name in _csv_names(k)}), header=True)


def _sorted(tables: list[pa.Table]) -> pa.Table:
    """Concatenate rows and sort them by path; the list is emptied, to free its memory early."""
    rows = pa.concat_tables(tables).combine_chunks()
    tables.clear()
    return rows.take(pa.compute.sort_indices(rows, [("path", "ascending")]))


def _to_parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    # The values of other columns are distinct, so Parquet would build a dictionary and discard it.
    pa.parquet.write_table(rows, sink, compression="snappy", use_dictionary=["label"])
    return sink.getvalue()


def _to_csv(rows: pa.Table) -> bytes:
    """Return the lines of the CSV, without a header."""
    lines = io.BytesIO()
    for batch in rows.to_batches(_CSV_ROWS):
        scores = _scores(batch.column("reduced"))
        texts = escape_formulas(batch.column("path")), escape_formulas(batch.column("label"))
        columns = [*texts, *map(pa.array, scores.T)]
        names = _csv_names(scores.shape[1])
        lines.write(_csv_lines(pa.record_batch(columns, names=names), header=False))
    return lines.getvalue()


def _csv_names(k: int) -> list[str]:
    return ["path", "label", *(f"pc{i + 1}" for i in range(k))]


def _csv_lines(rows: pa.Table | pa.RecordBatch, *, header: bool) -> bytes:
    buffer = io.BytesIO()
    pa.csv.write_csv(rows, buffer, pa.csv.WriteOptions(include_header=header))
    return buffer.getvalue()


def _scores(column: pa.ChunkedArray | pa.ListArray) -> NDArray[np.float64]:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    scores: NDArray[np.float64] = values.flatten().to_numpy()
    return scores.reshape(len(values), -1)
