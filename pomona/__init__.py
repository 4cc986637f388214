"""Command line and Python interface of Pomona: `pomona.open_lake` for notebooks and scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch_pca.pca.fit import FitOptions
    from batch_pca.refit import RefitOptions, refit
    from pomona.api import OpenLake
    from streaming.ingest.pipeline import ingest
    from streaming.ingest.settings import IngestSettings

__all__ = ["FitOptions", "IngestSettings", "RefitOptions", "ingest", "open_lake", "refit"]

# Imported on first use: `import pomona` needs neither Spark nor pandas.
_MODULES = {
    "FitOptions": "batch_pca.pca.fit",
    "IngestSettings": "streaming.ingest.settings",
    "RefitOptions": "batch_pca.refit",
    "ingest": "streaming.ingest.pipeline",
    "refit": "batch_pca.refit",
}


def open_lake(location: str) -> OpenLake:
    """Open a lake for reading: its features at any version, its refits, their scaler and PCA.

    Parameters
    ----------
    location : str
        Folder or ``s3://`` URI.

    Raises
    ------
    streaming.errors.LakeError
        If there is no lake at this location.

    Examples
    --------
    >>> lake = pomona.open_lake("./lake")
    >>> lake.latest_pca().transform(lake.features_arrow(as_of="3 days ago"))
    """
    from pomona.api import OpenLake

    return OpenLake(location)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'pomona' has no attribute {name!r}")
    import sys
    from importlib import import_module

    import_module(_MODULES[name])
    # Not the attribute of the package: `batch_pca.refit` is the function there.
    return getattr(sys.modules[_MODULES[name]], name)
