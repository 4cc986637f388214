"""Project all rows in the Python workers with NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from batch_pca.features.parquet_reader import COLUMNS, Part, feature_matrix, run_parts
from batch_pca.features.snapshot import Snapshot
from batch_pca.pca.fit import Reduction
from batch_pca.refits.label_means import LabelSums

REDUCED_DDL = "path string, label string, reduced array<double>"
# The last row of each part holds its sums by label, and nothing else.
_DDL = f"{REDUCED_DDL}, sums binary"
_ROWS = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("reduced", pa.list_(pa.float64())),
        ("sums", pa.binary()),
    ]
)


class Broadcast(Protocol):
    """A Spark broadcast of a fit."""

    @property
    def value(self) -> Reduction:
        """The fit."""


class Projector:
    """What a Python worker does: path, label and features in; path, label and reduced vector out, then the sums."""

    def __init__(self, reduction: Broadcast) -> None:
        self._reduction = reduction

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Project the batches of a partition."""
        sums = LabelSums()
        for batch in batches:
            if not batch.num_rows:
                continue
            features = feature_matrix(batch.column(2))
            sums.add(batch.column(1), features)
            scores = self._reduction.value.transform(features)
            offsets = np.arange(len(scores) + 1, dtype=np.int32) * scores.shape[1]
            reduced = pa.ListArray.from_arrays(offsets, scores.ravel())
            none = pa.nulls(len(scores), pa.binary())
            yield pa.RecordBatch.from_arrays(
                [batch.column(0), batch.column(1), reduced, none], schema=_ROWS
            )
        last = {"path": [None], "label": [None], "reduced": [None], "sums": [sums.to_bytes()]}
        yield pa.RecordBatch.from_pydict(last, schema=_ROWS)


class PartProjector:
    """The same for parts of the files, by their numbers."""

    def __init__(self, parts: list[Part], reduction: Broadcast) -> None:
        self._parts = parts
        self._projector = Projector(reduction)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Project the parts with these numbers."""
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self._projector(self._parts[number].batches(list(COLUMNS)))


def project(snapshot: Snapshot, reduction: Reduction) -> DataFrame:
    """Reduce every row's features, and sum them by label.

    Returns
    -------
    DataFrame
        ``path``, ``label`` and ``reduced`` (array of k doubles), in no order, ``sums`` null; beside them rows in which
        ``sums`` alone is not null: `batch_pca.refits.label_means.LabelSums` of some of the rows each.
    """
    shared = snapshot.spark.sparkContext.broadcast(reduction)
    if snapshot.parts is None:
        return snapshot.rows.select(*COLUMNS).mapInArrow(Projector(shared), _DDL)
    work = PartProjector(snapshot.parts, shared)
    return run_parts(snapshot.spark, work, _DDL, len(snapshot.parts))
