"""Submit a maintenance request and print lists of paths; shared by `quarantine`, `forget` and `reconcile`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomona.output.console import Console


def submit_request(
    console: Console, location: str, operation: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Submit a request to the running stream, or execute it here, and return its result."""
    from streaming.ingest.request_client import submit_and_wait
    from streaming.lake.layout import Lake
    from streaming.maintenance.requests import Request
    from streaming.spark.errors import translate_errors

    lake = Lake.at(location)
    lake.validate()
    with translate_errors(), console.status("executing the request"):
        result: dict[str, Any] = submit_and_wait(lake, Request(operation, arguments))
        return result


def print_paths(
    console: Console, heading: str, paths: Sequence[str], total: int | None = None
) -> None:
    """Print a heading and the first of `total` paths, by default all of `paths`; nothing if there are none."""
    from pomona.output.console import MAX_LISTED

    if not paths:
        return
    console.print(heading)
    for path in paths[:MAX_LISTED]:
        console.print(f"    {path}")
    if paths[MAX_LISTED:]:
        shown = "all" if total in (None, len(paths)) else f"{len(paths):,}"
        console.print(f"    and {(total or len(paths)) - MAX_LISTED:,} more (--json shows {shown})")
