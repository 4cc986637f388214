"""The operation that sets the retention of the lake's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streaming.errors import UsageError
from streaming.lake import retention
from streaming.maintenance.requests import JSON

if TYPE_CHECKING:
    from streaming.maintenance.context import OperationContext

_MAX_DAYS = 1_000_000
#: The kind of this request.
SET_RETENTION = "set_retention"


def set_retention(context: OperationContext, arguments: dict[str, JSON]) -> dict[str, JSON]:
    """Set the retention of the tables to at least ``days``, and return the changed ``tables``."""
    if not 0 < arguments["days"] <= _MAX_DAYS:
        raise UsageError(f"days is {arguments['days']}: it must be 1 to {_MAX_DAYS:,}")
    return {"tables": retention.set_retention(context.spark, context.lake, arguments["days"])}
