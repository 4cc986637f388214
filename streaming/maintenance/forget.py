"""Delete the rows of images that a user names, or that no longer exist in the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from streaming.delta.reader import existing_paths
from streaming.delta.writer import Writer
from streaming.errors import SourceError
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.maintenance.requests import JSON
from streaming.storage.interface import TransientError
from streaming.storage.open import open_storage

if TYPE_CHECKING:
    from streaming.maintenance.context import OperationContext


def forget(context: OperationContext, arguments: dict[str, JSON]) -> dict[str, JSON]:
    """Delete the rows of images from the tables; earlier versions of the tables keep them.

    Parameters
    ----------
    context : OperationContext
    arguments : dict
        ``paths``: URIs of the images, as in the tables.

    Returns
    -------
    dict
        ``features`` and ``quarantine``: paths whose row was deleted from that table; ``unknown``: paths in neither
        table; ``existing``: paths whose image still exists, so that the next sweep of the source ingests it again.
    """
    paths: list[str] = list(dict.fromkeys(arguments["paths"]))
    lake = context.lake
    in_table = {table: existing_paths(table, paths) for table in (lake.features, lake.quarantine)}
    known = set().union(*in_table.values())
    if context.image_index:
        context.image_index.invalidate(sorted(known))
    for table, names in in_table.items():
        if names:
            Writer(context.spark, table, {"forgotten": len(known)}).delete(sorted(names))
    if context.image_index:
        context.image_index.remove(paths)
    return {
        "features": sorted(in_table[lake.features]),
        "quarantine": sorted(in_table[lake.quarantine]),
        "unknown": [path for path in paths if path not in known],
        "existing": [path for path in paths if path in known and _image_exists(path)],
    }


def delete_rows(
    spark: SparkSession, lake: Lake, index: ImageIndex, paths: Sequence[str], count_name: str
) -> None:
    """Delete the rows with these paths from both tables, in one commit each.

    The commit metadata has the number of paths as `count_name`.
    """
    if not paths:
        return
    index.invalidate(paths)
    for table in (lake.features, lake.quarantine):
        Writer(spark, table, {count_name: len(paths)}).delete(list(paths))
    index.remove(paths)


def _image_exists(path: str) -> bool:
    """Return whether an image exists; False if it cannot be determined."""
    try:
        return open_storage(path).exists(path)
    except (PermissionError, TransientError, SourceError):
        return False
