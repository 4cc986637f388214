"""Load the fit of a published refit from its arrays, without Spark."""

from __future__ import annotations

import numpy as np

from batch_pca.pca.projection import Projection
from batch_pca.refits.folder import RefitFolder, read_components, read_moments
from streaming.errors import SnapshotError


def read_fit(folder: RefitFolder) -> Projection:
    """Read the fit in the folder of a refit.

    Raises
    ------
    SnapshotError
        If its arrays are missing or damaged.
    """
    moments = read_moments(folder)
    components = read_components(folder, moments.shift.size) if moments else None
    if moments is None or components is None:
        raise SnapshotError(
            f"{folder.uri}: moments.npz or components.npz is missing or damaged: refit that version again"
        )
    std = np.where(moments.constant(), 0.0, np.sqrt(moments.variance()))
    return Projection(moments.count, moments.mean(), std, components)
