"""Submit a maintenance request and print lists of paths; shared by `quarantine`, `forget` and `reconcile`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomona.output.console import Console


_SHOWN = 20  # paths of each kind


def _asked(screen: Console, location: str, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from streaming.ingest.request_client import submit_and_wait
    from streaming.lake.layout import Lake
    from streaming.maintenance.requests import Request
    from streaming.spark.errors import translate_errors

    lake = Lake.at(location)
    lake.validate()
    with translate_errors(), screen.working("waiting for the running stream"):
        answer: dict[str, Any] = submit_and_wait(lake, Request(kind, arguments))
        return answer


def _show(screen: Console, heading: str, paths: Sequence[str]) -> None:
    if not paths:
        return
    screen.line(heading)
    for path in paths[:_SHOWN]:
        screen.line(f"    {path}")
    if paths[_SHOWN:]:
        screen.line(f"    and {len(paths) - _SHOWN:,} more (--json shows all)")
