"""The one pass over the features: each partition's sufficient statistics, merged on the driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from batch_pca.moments import Moments, MomentsBuilder, Vector
from batch_pca.snapshot import matrices
from streaming.errors import SnapshotError

# Rows whose mean is taken off the others: near enough to the mean of all, for the sums to stay exact.
_PROVISIONAL = 256


def sum_moments(rows: DataFrame) -> Moments:
    """Sum the sufficient statistics of the column ``features``.

    Parameters
    ----------
    rows : DataFrame
        With a column ``features``, vectors of one width d.

    Returns
    -------
    Moments

    Raises
    ------
    SnapshotError
        When there are no rows, or a vector holds what is not a number.
    """
    vectors = rows.select("features")
    some = [row.features for row in vectors.limit(_PROVISIONAL).collect()]
    if not some:
        raise SnapshotError("there are no rows to fit: check --fit-on, or ingest images first")
    shift = np.asarray(some, dtype=np.float64).mean(axis=0)
    # What is not finite is refused, and counted, where the rows are summed.
    summer = Summer(np.where(np.isfinite(shift), shift, 0.0))
    # One matrix of 13 MB a partition comes to the driver: no more of them than there are cores.
    parts = vectors.coalesce(vectors.sparkSession.sparkContext.defaultParallelism)
    partial = parts.mapInArrow(summer, "moments binary").toLocalIterator()
    return reduce(add, (Moments.from_bytes(bytes(row.moments)) for row in partial))


@dataclass(frozen=True, eq=False)
class Summer:
    """What a Python worker does: Arrow batches of one column of vectors in, one row of moments out."""

    shift: Vector

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sum one partition."""
        builder = MomentsBuilder(self.shift)
        for matrix in matrices(batches, 0):
            builder.add(matrix)
        yield pa.RecordBatch.from_pydict({"moments": [builder.build().to_bytes()]})
