"""Write the reduced vectors of a refit as Parquet and as one CSV, sorted by path."""

from __future__ import annotations

import hashlib
import io
import math
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray
from pyspark import StorageLevel

from batch_pca.features.snapshot import Snapshot
from batch_pca.pca.fit import Reduction
from batch_pca.refits.csv_injection import escape_formulas
from batch_pca.refits.folder import RefitFolder
from batch_pca.refits.label_means import FILE as LABELS_FILE
from batch_pca.refits.label_means import LabelSums
from batch_pca.refits.transform import project
from streaming.storage.open import open_storage

#: Number of rows and components that the report shows at most.
MAX_POINTS = 100_000
PLOTTED_COMPONENTS = 8
_CSV_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Sample:
    """An even sample of the reduced rows for the report, and totals of all rows.

    Attributes
    ----------
    paths, labels : list of m str
    points : ndarray of shape (m, c), float64
        Scores on the first `PLOTTED_COMPONENTS` components.
    csv_sha256 : str
        SHA-256 of the CSV file, hexadecimal.
    sums : LabelSums
        Sums of all rows by label.
    """

    paths: list[str]
    labels: list[str]
    points: NDArray[np.float64]
    csv_sha256: str
    sums: LabelSums


def write_vectors(folder: RefitFolder, snapshot: Snapshot, reduction: Reduction) -> Sample:
    """Write the reduced rows, sorted by path, as Parquet files and as one CSV file."""
    # A sort reads its input twice, first to sample it. Without persist(), all rows would be projected twice.
    reduced = project(snapshot, reduction).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        # The values of a column are distinct, so Parquet would build a dictionary and discard it.
        writer = reduced.where("sums IS NULL").drop("sums").orderBy("path").write
        writer.option("parquet.enable.dictionary#reduced.list.element", "false").parquet(
            folder.parquet
        )
        sums = LabelSums()
        # One at a time: the sums of all partitions of a large cluster do not fit into the driver.
        for row in reduced.where("sums IS NOT NULL").select("sums").toLocalIterator():
            sums.merge(LabelSums.from_bytes(bytes(row.sums)))
    finally:
        reduced.unpersist()
    folder.write(LABELS_FILE, sums.to_bytes())
    return _write_csv(folder, reduction.k, math.ceil(snapshot.count / MAX_POINTS), sums)


def _write_csv(folder: RefitFolder, k: int, step: int, sums: LabelSums) -> Sample:
    """Write the CSV from the Parquet files, and sample every `step`-th row."""
    paths: list[str] = []
    labels: list[str] = []
    points: list[NDArray[np.float64]] = []
    rows_written = 0
    names = ["path", "label", *(f"pc{i + 1}" for i in range(k))]
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, "reduced.csv")
        with local.open("wb") as file:
            file.write(_csv_lines(pa.table({name: [] for name in names}), header=True))
            for batch, lines in _with_csv_lines(_read_parquet(folder), names):
                file.write(lines)
                chosen = np.arange(-rows_written % step, batch.num_rows, step)
                paths += batch.column(0).take(pa.array(chosen)).to_pylist()
                labels += batch.column(1).take(pa.array(chosen)).to_pylist()
                points.append(_scores(batch)[chosen, :PLOTTED_COMPONENTS])
                rows_written += batch.num_rows
        with local.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        open_storage(folder.uri).upload(local, folder.csv)
    return Sample(paths, labels, np.concatenate(points), digest, sums)


def _with_csv_lines(
    batches: Iterator[pa.RecordBatch], names: list[str]
) -> Iterator[tuple[pa.RecordBatch, bytes]]:
    """Yield each batch with its CSV lines, in order. The lines are formatted on all cores, a few batches ahead."""

    def format_lines(batch: pa.RecordBatch) -> bytes:
        """Return the CSV lines of a batch."""
        texts = escape_formulas(batch.column(0)), escape_formulas(batch.column(1))
        columns = [*texts, *map(pa.array, _scores(batch).T)]
        return _csv_lines(pa.record_batch(columns, names=names), header=False)

    cores = os.cpu_count() or 1
    queue: deque[tuple[pa.RecordBatch, Future[bytes]]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for batch in batches:
            queue.append((batch, pool.submit(format_lines, batch)))
            if len(queue) > 2 * cores:
                oldest, lines = queue.popleft()
                yield oldest, lines.result()
        for oldest, lines in queue:
            yield oldest, lines.result()


def _csv_lines(rows: pa.Table | pa.RecordBatch, *, header: bool) -> bytes:
    buffer = io.BytesIO()
    pa.csv.write_csv(rows, buffer, pa.csv.WriteOptions(include_header=header))
    return buffer.getvalue()


def _scores(batch: pa.RecordBatch) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = batch.column(2).flatten().to_numpy()
    return scores.reshape(batch.num_rows, -1)


def _read_parquet(folder: RefitFolder) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the Parquet files in order."""
    for file in folder.parquet_files():
        yield from pyarrow.parquet.ParquetFile(file).iter_batches(
            _CSV_ROWS, columns=["path", "label", "reduced"]
        )
