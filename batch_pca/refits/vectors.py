"""Publish the reduced vectors of a refit as Parquet and as one CSV, sorted by path.

The workers partition the projected rows by path, sort each partition, and write it as a Parquet file and as a piece of
the CSV. The driver only concatenates the pieces, without a local copy if the lake is on S3.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch_pca.features.snapshot import Snapshot
from batch_pca.pca.fit import Reduction
from batch_pca.refits.folder import RefitFolder
from batch_pca.refits.label_means import LABELS_FILE, LabelSums
from batch_pca.refits.pieces import Piece, PieceWriter, csv_header
from batch_pca.refits.transform import Partitioning, project, sample_paths
from streaming.storage.interface import is_s3
from streaming.storage.open import open_storage

#: Number of rows that the report shows at most.
MAX_POINTS = 100_000
# Bytes of a partition in memory. Its part of the CSV is about 2.5 times as large.
_PARTITION_BYTES = 32 * 2**20
# Rows below which a partition is not split further for the sake of parallelism.
_MIN_ROWS = 8192
# Bytes of path, label and offsets that a row is estimated to have.
_TEXT_BYTES = 100
_SAMPLES_PER_PARTITION = 200
# Pieces of the CSV that are read before the one that is written is complete.
_PREFETCHED_PIECES = 2


@dataclass(frozen=True, eq=False)
class Sample:
    """An even sample of the reduced rows for the report, and totals of all rows.

    Attributes
    ----------
    paths, labels : list of m str
    points : ndarray of shape (m, c), float64
        Scores on the first `batch_pca.refits.pieces.PLOTTED_COMPONENTS` components.
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
    partitioning = _plan(snapshot, reduction.k)
    # The sample of each partition starts at its first row, so that all but one may have a point more.
    step = math.ceil(snapshot.count / max(1, MAX_POINTS - len(partitioning.boundaries)))
    writer = PieceWriter(folder, partitioning, step)
    rows = project(snapshot, reduction, partitioning)
    written = rows.partitionBy(partitioning.count, int).mapPartitionsWithIndex(writer).collect()
    pieces = sorted((each for each in written if isinstance(each, Piece)), key=lambda p: p.number)
    (sums,) = (LabelSums.from_bytes(each) for each in written if isinstance(each, bytes))
    _publish_parquet(folder, pieces)
    folder.write(LABELS_FILE, sums.to_bytes())
    return Sample(
        [path for piece in pieces for path in piece.paths],
        [label for piece in pieces for label in piece.labels],
        np.concatenate([piece.points for piece in pieces]),
        _publish_csv(folder, pieces, csv_header(reduction.k)),
        sums,
    )


def _plan(snapshot: Snapshot, k: int) -> Partitioning:
    """Choose the boundaries from a sample of the paths."""
    by_size = math.ceil(snapshot.count * (8 * k + _TEXT_BYTES) / _PARTITION_BYTES)
    cores = snapshot.spark.sparkContext.defaultParallelism
    count = max(by_size, min(cores, snapshot.count // _MIN_ROWS))
    if count < 2:
        return Partitioning()
    sample = sorted(map(str.encode, sample_paths(snapshot, count * _SAMPLES_PER_PARTITION)))
    return Partitioning(tuple(sample[i * len(sample) // count] for i in range(1, count)))


def _publish_parquet(folder: RefitFolder, pieces: Sequence[Piece]) -> None:
    """Delete the files of attempts of a task that Spark repeated, and mark the folder as complete, as Spark does."""
    storage = open_storage(folder.uri)
    written = {f"{folder.parquet}/{piece.parquet}" for piece in pieces}
    for found in list(storage.list(folder.parquet)):
        if found.path not in written:
            storage.delete(found.path)
    folder.write("parquet/_SUCCESS", b"")


def _publish_csv(folder: RefitFolder, pieces: Sequence[Piece], header: bytes) -> str:
    """Concatenate the pieces of the CSV, delete them, and return the SHA-256 of the CSV.

    The CSV may be larger than the disk of the driver: on S3, it is uploaded while the pieces are read.
    """
    storage, on_s3 = open_storage(folder.uri), is_s3(folder.uri)
    digest = hashlib.sha256()

    def content() -> Iterator[bytes]:
        """Yield the CSV from its beginning, and hash it."""
        nonlocal digest
        digest = hashlib.sha256(header)
        yield header
        for name, lines in _prefetch(folder, [piece.csv for piece in pieces]):
            digest.update(lines)
            yield lines
            # In a folder, the pieces and the CSV share a disk. On S3, another attempt reads all pieces again.
            if not on_s3:
                storage.delete(f"{folder.uri}/{name}")

    size = len(header) + sum(piece.csv_bytes for piece in pieces)
    storage.upload_stream(content, folder.csv, size)
    storage.delete_tree(folder.csv_pieces)
    return digest.hexdigest()


def _prefetch(folder: RefitFolder, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of files in order, and read a few of them in advance."""
    queue: deque[tuple[str, Future[bytes]]] = deque()
    with ThreadPoolExecutor(_PREFETCHED_PIECES) as pool:
        for name in names:
            queue.append((name, pool.submit(folder.read, name)))
            if len(queue) > _PREFETCHED_PIECES:
                oldest, content = queue.popleft()
                yield oldest, content.result()
        for oldest, content in queue:
            yield oldest, content.result()
