"""Project all rows in the Python workers with NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from batch_pca.features.parquet_reader import COLUMNS, Part, feature_matrix, map_parts
from batch_pca.features.snapshot import Snapshot
from batch_pca.pca.fit import Reduction
from batch_pca.refits.label_means import LabelSums

# In the last row of each partition, only `sums` is not null: the sums by label.
_DDL = "path string, label string, reduced array<double>, sums binary"
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("reduced", pa.list_(pa.float64())),
        ("sums", pa.binary()),
    ]
)


class Broadcast(Protocol):
    """A Spark broadcast variable of a fit."""

    @property
    def value(self) -> Reduction:
        """The broadcast fit."""


class Projector:
    """Function for `mapInArrow`: from path, label and features to path, label and reduced vector, then the sums."""

    def __init__(self, reduction: Broadcast) -> None:
        self._reduction = reduction

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Project one partition."""
        sums = LabelSums()
        for batch in batches:
            if not batch.num_rows:
                continue
            features = feature_matrix(batch.column(2))
            sums.add(batch.column(1), features)
            scores = self._reduction.value.transform(features)
            offsets = np.arange(len(scores) + 1, dtype=np.int32) * scores.shape[1]
            reduced = pa.ListArray.from_arrays(offsets, scores.ravel())
            no_sums = pa.nulls(len(scores), pa.binary())
            yield pa.RecordBatch.from_arrays(
                [batch.column(0), batch.column(1), reduced, no_sums], schema=_SCHEMA
            )
        last = {"path": [None], "label": [None], "reduced": [None], "sums": [sums.to_bytes()]}
        yield pa.RecordBatch.from_pydict(last, schema=_SCHEMA)


class PartProjector:
    """Function for `map_parts`: from part numbers to the output of `Projector`."""

    def __init__(self, parts: list[Part], reduction: Broadcast) -> None:
        self._parts = parts
        self._projector = Projector(reduction)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Project the parts with these numbers."""
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self._projector(self._parts[number].batches(list(COLUMNS)))


def project(snapshot: Snapshot, reduction: Reduction) -> DataFrame:
    """Project the features of all rows, and sum the features by label.

    Returns
    -------
    DataFrame
        Rows with ``path``, ``label`` and ``reduced`` (array of k doubles), in no particular order; and one row per
        partition with only ``sums``, the bytes of a `batch_pca.refits.label_means.LabelSums`.
    """
    broadcast = snapshot.spark.sparkContext.broadcast(reduction)
    if snapshot.parts is None:
        return snapshot.rows.select(*COLUMNS).mapInArrow(Projector(broadcast), _DDL)
    projector = PartProjector(snapshot.parts, broadcast)
    return map_parts(snapshot.spark, projector, _DDL, len(snapshot.parts))
