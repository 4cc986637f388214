"""Upper limit of a refit: X'X of the same Parquet files in float64, chunk by chunk, then NumPy's `eigh`.

`python -m benchmarks.peers.numpy_moments FEATURES COMPONENTS`
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow.dataset

from benchmarks.measuring.timing import Stopwatch

#: Rows per chunk: 40 MB of float64.
ROWS = 4096


def main() -> None:
    """Run one fit."""
    watch = Stopwatch()
    folder, components = sys.argv[1], int(sys.argv[2])

    watch.start()
    count, sums, products = 0, 0.0, 0.0
    read = pyarrow.dataset.dataset(folder, format="parquet")
    for batch in read.to_batches(columns=["features"], batch_size=ROWS):
        rows = batch.column(0).flatten().to_numpy().reshape(batch.num_rows, -1).astype(np.float64)
        count += len(rows)
        sums = sums + rows.sum(axis=0)
        products = products + rows.T @ rows
    mean = sums / count
    covariance = (products - count * np.outer(mean, mean)) / (count - 1)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)
    values = np.linalg.eigh(covariance * np.outer(scale, scale))[0][::-1]
    watch.stop(count, explained=float(values[:components].sum() / values.sum()))


if __name__ == "__main__":
    main()
