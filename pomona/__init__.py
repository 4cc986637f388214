"""Command line and Python interface of Pomona: `pomona.open_lake` for notebooks and scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pomona.api import OpenLake

__all__ = ["open_lake"]


def open_lake(location: str) -> OpenLake:
    """Open a lake to be read: its features at any version, its refits, their scaler and PCA.

    Parameters
    ----------
    location : str
        Folder or ``s3://`` URI.

    Raises
    ------
    streaming.errors.LakeError
        Where there is no lake.

    Examples
    --------
    >>> lake = pomona.open_lake("./lake")
    >>> lake.latest_pca().transform(lake.features_arrow(as_of="3 days ago"))
    """
    from pomona.api import OpenLake

    return OpenLake(location)
