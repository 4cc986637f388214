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

#: What the page of a refit shows: so many rows, on so many components.
POINTS = 100_000
PLOTTED = 8
_CSV_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Sample:
    """Scores of an even sample of the rows on the first components; and what else came of writing them.

    Attributes
    ----------
    paths, labels : list of m str
    points : ndarray of shape (m, c), float64
        Scores on the first `PLOTTED` components, or as many as there are.
    csv_sha256 : str
        Of the CSV, in hexadecimal.
    sums : LabelSums
        Of all rows.
    """

    paths: list[str]
    labels: list[str]
    points: NDArray[np.float64]
    csv_sha256: str
    sums: LabelSums


def write_vectors(folder: RefitFolder, snapshot: Snapshot, reduction: Reduction) -> Sample:
    """Write the reduced rows as Parquet, then the same as one CSV, in the order of their paths."""
    # A sort reads its input twice, first to sample it: the projection is kept in between.
    reduced = project(snapshot, reduction).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        # The numbers of a column are all different: a dictionary of them would only be thrown away again.
        writer = reduced.where("sums IS NULL").drop("sums").orderBy("path").write
        writer.option("parquet.enable.dictionary#reduced.list.element", "false").parquet(
            folder.parquet
        )
        sums = LabelSums()
        # One by one: all of a large cluster's together would not fit.
        for row in reduced.where("sums IS NOT NULL").select("sums").toLocalIterator():
            sums.merge(LabelSums.from_bytes(bytes(row.sums)))
    finally:
        reduced.unpersist()
    folder.write(LABELS_FILE, sums.to_bytes())
    return _write_csv(folder, reduction.k, math.ceil(snapshot.count / POINTS), sums)


def _write_csv(folder: RefitFolder, k: int, step: int, sums: LabelSums) -> Sample:
    """Write the CSV of the Parquet files; every so many rows, one is kept for the plot."""
    paths: list[str] = []
    labels: list[str] = []
    points: list[NDArray[np.float64]] = []
    seen = 0
    names = ["path", "label", *(f"pc{i + 1}" for i in range(k))]
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, "reduced.csv")
        with local.open("wb") as file:
            file.write(_lines(pa.table({name: [] for name in names}), header=True))
            for batch, lines in _with_lines(_read_back(folder), names):
                file.write(lines)
                chosen = np.arange(-seen % step, batch.num_rows, step)
                paths += batch.column(0).take(pa.array(chosen)).to_pylist()
                labels += batch.column(1).take(pa.array(chosen)).to_pylist()
                points.append(_scores(batch)[chosen, :PLOTTED])
                seen += batch.num_rows
        with local.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        open_storage(folder.uri).upload(local, folder.csv)
    return Sample(paths, labels, np.concatenate(points), digest, sums)


def _with_lines(
    batches: Iterator[pa.RecordBatch], names: list[str]
) -> Iterator[tuple[pa.RecordBatch, bytes]]:
    """Each batch with its lines of the CSV, in order; numbers are turned into text on all cores, a few ahead."""

    def text(batch: pa.RecordBatch) -> bytes:
        texts = escape_formulas(batch.column(0)), escape_formulas(batch.column(1))
        columns = [*texts, *map(pa.array, _scores(batch).T)]
        return _lines(pa.record_batch(columns, names=names), header=False)

    cores = os.cpu_count() or 1
    waiting: deque[tuple[pa.RecordBatch, Future[bytes]]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for batch in batches:
            waiting.append((batch, pool.submit(text, batch)))
            if len(waiting) > 2 * cores:
                ready, lines = waiting.popleft()
                yield ready, lines.result()
        for ready, lines in waiting:
            yield ready, lines.result()


def _lines(rows: pa.Table | pa.RecordBatch, *, header: bool) -> bytes:
    buffer = io.BytesIO()
    pa.csv.write_csv(rows, buffer, pa.csv.WriteOptions(include_header=header))
    return buffer.getvalue()


def _scores(batch: pa.RecordBatch) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = batch.column(2).flatten().to_numpy()
    return scores.reshape(batch.num_rows, -1)


def _read_back(folder: RefitFolder) -> Iterator[pa.RecordBatch]:
    """The rows of the Parquet files, in their order."""
    for file in folder.parquet_files():
        yield from pyarrow.parquet.ParquetFile(file).iter_batches(
            _CSV_ROWS, columns=["path", "label", "reduced"]
        )
