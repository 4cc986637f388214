"""The operation that sets the retention of the lake's tables."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from streaming.delta.commit_lock import commit_lock
from streaming.delta.tables import RETENTION_PROPERTIES
from streaming.lake.retention import _promised, _tables
from streaming.maintenance.requests import JSON

if TYPE_CHECKING:
    from streaming.maintenance.context import OperationContext

#: The request that `keep` carries out.
KEEP = "keep"


def keep(context: OperationContext, arguments: dict[str, JSON]) -> dict[str, JSON]:
    """Have the tables keep what is removed for so many ``days``; one that keeps for longer is left alone.

    Returns
    -------
    dict
        ``tables``: those that were told.
    """
    wanted, told = timedelta(days=arguments["days"]), []
    for location in _tables(context.lake):
        if _promised(location) >= wanted:
            continue
        # Both at once: Delta wants a log that reaches as far back as the files.
        properties = ", ".join(
            f"'{name}' = 'interval {wanted.days} days'" for name in RETENTION_PROPERTIES
        )
        name = location.replace("`", "``")
        with commit_lock(location):
            context.spark.sql(f"ALTER TABLE delta.`{name}` SET TBLPROPERTIES ({properties})")
        told.append(location)
    return {"tables": told}
