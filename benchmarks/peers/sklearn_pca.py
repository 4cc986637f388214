"""scikit-learn on the same Parquet files: StandardScaler, then PCA with one of its solvers, or IncrementalPCA.

`python -m benchmarks.peers.sklearn_pca FEATURES COMPONENTS SOLVER`, SOLVER is full, randomized or incremental.
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow.dataset
from numpy.typing import NDArray

from benchmarks.measuring.timing import Stopwatch


def main() -> None:
    """Run one fit."""
    watch = Stopwatch()
    folder, components, solver = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    from sklearn.decomposition import PCA, IncrementalPCA
    from sklearn.preprocessing import StandardScaler

    watch.start()
    read = pyarrow.dataset.dataset(folder, format="parquet")
    if solver == "incremental":
        count, pca = 0, IncrementalPCA(components)
        scaler = StandardScaler()
        for batch in read.to_batches(columns=["features"]):
            scaler.partial_fit(_matrix(batch.column(0)))
        rest = np.empty((0, scaler.n_features_in_), np.float32)
        for batch in read.to_batches(columns=["features"]):
            rest = np.vstack([rest, scaler.transform(_matrix(batch.column(0)))])
            count += batch.num_rows
            if len(rest) >= 5 * scaler.n_features_in_:  # scikit-learn's default batch size
                pca.partial_fit(rest)
                rest = rest[:0]
        if len(rest) >= components:  # partial_fit rejects smaller batches
            pca.partial_fit(rest)
    else:
        rows = _matrix(read.to_table(columns=["features"]).column(0).combine_chunks())
        count = len(rows)
        pca = PCA(components, svd_solver=solver, random_state=0)
        pca.fit(StandardScaler().fit_transform(rows))
    watch.stop(count, explained=float(pca.explained_variance_ratio_.sum()))


def _matrix(column: pyarrow.ListArray) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), -1)
    return rows


if __name__ == "__main__":
    main()
