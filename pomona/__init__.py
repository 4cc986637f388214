"""Command line and Python interface of Pomona: `ingest` and `refit` write a lake, `open_lake` reads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch_pca.pca.fit import FitOptions
    from batch_pca.refit import RefitOptions, RefitResult, refit
    from batch_pca.refits.drift import DriftThresholds
    from pomona.api import OpenLake
    from streaming.errors import (
        AccountError,
        ClosedPipeError,
        ExternalError,
        FailureRateExceeded,
        LakeError,
        LeaseError,
        ModelError,
        OutputError,
        PlatformError,
        PomonaError,
        SnapshotError,
        SourceError,
        ThresholdExceeded,
        TooFewRowsError,
        UsageError,
    )
    from streaming.ingest.pipeline import ingest
    from streaming.ingest.settings import IngestSettings, IngestSummary

__all__ = [
    "AccountError",
    "ClosedPipeError",
    "DriftThresholds",
    "ExternalError",
    "FailureRateExceeded",
    "FitOptions",
    "IngestSettings",
    "IngestSummary",
    "LakeError",
    "LeaseError",
    "ModelError",
    "OutputError",
    "PlatformError",
    "PomonaError",
    "RefitOptions",
    "RefitResult",
    "SnapshotError",
    "SourceError",
    "ThresholdExceeded",
    "TooFewRowsError",
    "UsageError",
    "ingest",
    "open_lake",
    "refit",
]

# Imported on first use: `import pomona` loads neither Spark nor pandas. The other names are exceptions.
_MODULES = {
    "DriftThresholds": "batch_pca.refits.drift",
    "FitOptions": "batch_pca.pca.fit",
    "IngestSettings": "streaming.ingest.settings",
    "IngestSummary": "streaming.ingest.settings",
    "RefitOptions": "batch_pca.refit",
    "RefitResult": "batch_pca.refit",
    "ingest": "streaming.ingest.pipeline",
    "refit": "batch_pca.refit",
}


def open_lake(location: str | os.PathLike[str]) -> OpenLake:
    """Open a lake for reading: its features at any version, its refits, and their scaler and PCA.

    Parameters
    ----------
    location : str or os.PathLike
        Folder or ``s3://`` URI.

    Returns
    -------
    pomona.api.OpenLake

    Raises
    ------
    LakeError
        If there is no lake at this location.

    Examples
    --------
    >>> import pomona
    >>> lake = pomona.open_lake("./lake")
    >>> lake.latest_pca().transform(lake.features_arrow()).shape
    (8, 3)
    """
    from pomona.api import OpenLake

    return OpenLake(location)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pomona' has no attribute {name!r}")
    import sys
    from importlib import import_module

    module = _MODULES.get(name, "streaming.errors")
    import_module(module)
    # From sys.modules: the attribute `refit` of the package `batch_pca` is the function, not the module.
    return getattr(sys.modules[module], name)
