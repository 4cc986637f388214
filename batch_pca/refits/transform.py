"""Project all rows in the Python workers with NumPy, and partition the result by path."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pyspark import RDD
from pyspark.sql import DataFrame

from batch_pca.features.parquet_reader import COLUMNS, Part, feature_matrix
from batch_pca.features.snapshot import Snapshot
from batch_pca.pca.fit import Reduction
from batch_pca.pca.moments import check_finite
from batch_pca.pca.projection import Projection
from batch_pca.refits.folder import VECTOR_SCHEMA
from batch_pca.refits.label_means import LabelSums

_DDL = "partition int, content binary"
# Projected rows that a worker collects before it splits them.
_SPLIT_BYTES = 8 * 2**20

#: A partition number and its content, as Spark's shuffle moves it: Arrow IPC, or the bytes of label sums.
Keyed = tuple[int, bytes]


class Broadcast(Protocol):
    """A Spark broadcast variable of a fit."""

    @property
    def value(self) -> Reduction:
        """The broadcast fit."""


@dataclass(frozen=True)
class Partitioning:
    """Partitions of the projected rows by ranges of ``path``, and one more for the sums by label.

    Attributes
    ----------
    boundaries : tuple of bytes
        The first path of each partition except the first, in UTF-8, ascending.
    """

    boundaries: tuple[bytes, ...] = ()

    @property
    def sums(self) -> int:
        """Number of the partition with the sums by label, which is the last one."""
        return len(self.boundaries) + 1

    @property
    def count(self) -> int:
        """Number of all partitions."""
        return self.sums + 1

    def split(self, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows of each partition that has any."""
        if not self.boundaries:
            yield 0, rows
            return
        # Bytes, because Spark and Arrow also compare texts by their UTF-8.
        paths = rows.column("path").cast(pa.binary()).to_pylist()
        numbers = np.array([bisect_right(self.boundaries, path) for path in paths])
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        rows = rows.combine_chunks()
        for number, chosen in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            yield number, rows.take(pa.array(chosen))


@dataclass(frozen=True)
class Projector:
    """Project one share of the rows: from ``path``, ``label`` and ``features`` to rows by partition, then the sums."""

    reduction: Broadcast
    partitioning: Partitioning

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Keyed]:
        """Yield the projected rows as Arrow IPC streams, and at the end the bytes of `LabelSums`."""
        sums = LabelSums()
        pending: list[pa.RecordBatch] = []
        for batch in batches:
            if not batch.num_rows:
                continue
            pending.append(_project_batch(batch, self.reduction.value, sums))
            if sum(each.nbytes for each in pending) >= _SPLIT_BYTES:
                yield from self._split(pending)
                pending = []
        if pending:
            yield from self._split(pending)
        yield self.partitioning.sums, sums.to_bytes()

    def _split(self, batches: list[pa.RecordBatch]) -> Iterator[Keyed]:
        for number, rows in self.partitioning.split(pa.Table.from_batches(batches)):
            yield number, _to_ipc(rows)


def _project_batch(
    batch: pa.RecordBatch, projection: Projection, sums: LabelSums
) -> pa.RecordBatch:
    features = feature_matrix(batch.column(2))
    check_finite(features)  # the rows outside the prefix of `--fit-on` were not read before
    sums.add(batch.column(1), features)
    scores = projection.transform(features)
    offsets = np.arange(len(scores) + 1, dtype=np.int32) * scores.shape[1]
    reduced = pa.ListArray.from_arrays(offsets, scores.ravel())
    return pa.RecordBatch.from_arrays(
        [batch.column(0), batch.column(1), reduced], schema=VECTOR_SCHEMA
    )


def _to_ipc(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def from_ipc(content: bytes) -> pa.Table:
    """Parse the rows of one item of `project`."""
    return pa.ipc.open_stream(content).read_all()


@dataclass(frozen=True)
class _PartProjector:
    """Function for `RDD.mapPartitions`: from part numbers to the output of `Projector`."""

    parts: Sequence[Part]
    projector: Projector

    def __call__(self, numbers: Iterable[int]) -> Iterator[Keyed]:
        for number in numbers:
            yield from self.projector(self.parts[number].batches(list(COLUMNS)))


@dataclass(frozen=True)
class _RowProjector:
    """Function for `mapInArrow`: from rows that Spark reads to the output of `Projector` as rows of `_DDL`."""

    projector: Projector

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, content in self.projector(batches):
            columns = [pa.array([number], pa.int32()), pa.array([content], pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, names=["partition", "content"])


@dataclass(frozen=True)
class _PathSampler:
    """Function for `RDD.mapPartitions`: from part numbers to every `step`-th path of these parts."""

    parts: Sequence[Part]
    step: int

    def __call__(self, numbers: Iterable[int]) -> Iterator[str]:
        for number in numbers:
            skip = 0
            for batch in self.parts[number].batches(["path"]):
                yield from batch.column(0)[skip :: self.step].to_pylist()
                skip = (skip - batch.num_rows) % self.step


def sample_paths(snapshot: Snapshot, count: int) -> list[str]:
    """Return about `count` paths of the snapshot, evenly or randomly chosen, in no particular order."""
    if snapshot.parts is None:
        fraction = min(1.0, count / snapshot.count)
        paths = snapshot.rows.select("path").sample(fraction, seed=0).collect()
        return [row.path for row in paths]
    sampler = _PathSampler(snapshot.parts, max(1, snapshot.count // count))
    return _numbers(snapshot, len(snapshot.parts)).mapPartitions(sampler).collect()


def project(snapshot: Snapshot, reduction: Reduction, partitioning: Partitioning) -> RDD[Keyed]:
    """Project the features of all rows, and sum the features by label.

    Returns
    -------
    RDD of (int, bytes)
        Partition number, and rows of `VECTOR_SCHEMA` as an Arrow IPC stream, in no particular order. For the partition
        `Partitioning.sums`: bytes of a `batch_pca.refits.label_means.LabelSums`.
    """
    broadcast = snapshot.spark.sparkContext.broadcast(reduction)
    projector = Projector(broadcast, partitioning)
    if snapshot.parts is None:
        rows: DataFrame = snapshot.rows.select(*COLUMNS)
        projected = rows.mapInArrow(_RowProjector(projector), _DDL)
        return projected.rdd.map(_to_keyed)
    numbers = _numbers(snapshot, len(snapshot.parts))
    return numbers.mapPartitions(_PartProjector(snapshot.parts, projector))


def _numbers(snapshot: Snapshot, count: int) -> RDD[int]:
    """Return an RDD of `count` numbers, each in a task of its own."""
    return snapshot.spark.sparkContext.parallelize(range(count), count)


def _to_keyed(row: Any) -> Keyed:
    return row.partition, bytes(row.content)
