"""Delete the rows of images that a user names, or that no longer exist in the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from streaming.delta.reader import open_table, query, quote_literal
from streaming.delta.writer import Writer
from streaming.errors import SourceError
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.maintenance.requests import JSON
from streaming.storage.interface import TransientError
from streaming.storage.open import open_storage

if TYPE_CHECKING:
    from streaming.maintenance.context import OperationContext

_NAMED_AT_ONCE = 500


def forget(context: OperationContext, arguments: dict[str, JSON]) -> dict[str, JSON]:
    """Delete the rows of images from whichever table has them; earlier versions keep them.

    Parameters
    ----------
    context : OperationContext
    arguments : dict
        ``paths``: the images' URIs, as the tables have them.

    Returns
    -------
    dict
        ``features`` and ``quarantine``: paths whose row is gone from there; ``unknown``: those in neither table;
        ``existing``: those whose image is still there, so that the next sweep of its source takes it again.
    """
    paths: list[str] = list(dict.fromkeys(arguments["paths"]))
    lake = context.lake
    found = {table: _held(table, paths) for table in (lake.features, lake.quarantine)}
    told = {"forgotten": len(set().union(*found.values()))}
    for table, held in found.items():
        if held:
            Writer(context.spark, table, told).delete(sorted(held))
    if context.image_index:
        context.image_index.remove(paths)
    known = set().union(*found.values())
    return {
        "features": sorted(found[lake.features]),
        "quarantine": sorted(found[lake.quarantine]),
        "unknown": [path for path in paths if path not in known],
        "existing": [path for path in paths if path in known and _exists(path)],
    }


def delete_rows(
    spark: SparkSession, lake: Lake, known: ImageIndex, paths: Sequence[str], remark: str
) -> None:
    """Delete the rows of many paths from both tables, each in one commit; `remark` names the count in its metadata."""
    if not paths:
        return
    for table in (lake.features, lake.quarantine):
        Writer(spark, table, {remark: len(paths)}).delete(list(paths))
    known.remove(paths)


def _held(table: str, paths: Sequence[str]) -> set[str]:
    held: set[str] = set()
    opened = open_table(table)
    for start in range(0, len(paths), _NAMED_AT_ONCE):
        names = ", ".join(map(quote_literal, paths[start : start + _NAMED_AT_ONCE]))
        for batch in query(opened, "path", f"WHERE path IN ({names})"):
            held.update(batch.column(0).to_pylist())
    return held


def _exists(path: str) -> bool:
    """Whether an image is there, as far as can be told."""
    try:
        return open_storage(path).exists(path)
    except (PermissionError, TransientError, SourceError):
        return False
