"""Load the fit and the reduced vectors of a published refit from its files, without Spark."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from batch_pca.pca.projection import Projection
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.folder import VECTOR_SCHEMA, read_components, read_moments
from streaming.errors import SnapshotError, first_line


def read_fit(refit: RefitRow) -> Projection:
    """Read the fit of a refit.

    Raises
    ------
    SnapshotError
        If its arrays are missing or damaged.
    """
    moments = read_moments(refit.folder)
    components = read_components(refit.folder, moments.shift.size) if moments else None
    if moments is None or components is None:
        raise _unusable(refit, "moments.npz or components.npz is missing or damaged")
    std = np.where(moments.constant(), 0.0, np.sqrt(moments.variance()))
    return Projection(moments.count, moments.mean(), std, components)


def read_vectors(refit: RefitRow) -> pa.Table:
    """Read the reduced vectors of a refit, ordered by path.

    Returns
    -------
    pyarrow.Table
        With the columns of `VECTOR_SCHEMA`.

    Raises
    ------
    SnapshotError
        If files are missing or damaged.
    """
    try:
        files = map(pyarrow.parquet.read_table, refit.folder.parquet_files())
        parts = [part.select(VECTOR_SCHEMA.names).cast(VECTOR_SCHEMA) for part in files]
    except PermissionError:
        raise
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise _unusable(refit, f"a file in parquet/ is damaged ({first_line(error)})") from error
    vectors = pa.concat_tables([VECTOR_SCHEMA.empty_table(), *parts])
    if len(vectors) != refit.rows:
        counts = f"{len(vectors):,} of {refit.rows:,} vectors"
        raise _unusable(refit, f"files are missing from parquet/, which has {counts}")
    return vectors


def _unusable(refit: RefitRow, problem: str) -> SnapshotError:
    command = f"pomona refit {refit.lake.root} --full --as-of {refit.features_version}"
    return SnapshotError(
        f"{refit.folder.uri}: {problem}: run `{command}` with the options of this refit"
    )
