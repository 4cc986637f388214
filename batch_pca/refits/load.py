"""Load the fit of a published refit from its arrays, without Spark."""

from __future__ import annotations

import numpy as np

from batch_pca.pca.moments import Moments
from batch_pca.pca.projection import Projection
from batch_pca.refits.folder import RefitFolder, read_components
from streaming.errors import SnapshotError


def read_fit(folder: RefitFolder) -> Projection:
    """Read the fit in the folder of a refit.

    Raises
    ------
    SnapshotError
        If its arrays are missing or damaged.
    """
    components = read_components(folder)
    try:
        moments = Moments.from_bytes(folder.read("moments.npz"))
    except (FileNotFoundError, SnapshotError):
        moments = None
    if components is None or moments is None or components.shape[1] != moments.shift.size:
        raise SnapshotError(
            f"{folder.uri}: moments.npz or components.npz is missing or damaged: refit that version again"
        )
    std = np.where(moments.constant(), 0.0, np.sqrt(moments.variance()))
    return Projection(moments.count, moments.mean(), std, components)
