"""`pomona quarantine --retry`, `forget` and `reconcile`: asked of whoever holds the lake, and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomona.output.console import Screen


_SHOWN = 20  # paths of each kind


def _asked(screen: Screen, location: str, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from streaming.ingest.request_client import ask
    from streaming.lake.layout import Lake
    from streaming.maintenance.requests import Request
    from streaming.spark.errors import in_one_line

    lake = Lake.at(location)
    lake.require()
    with in_one_line(), screen.working("waiting for its turn"):
        answer: dict[str, Any] = ask(lake, Request(kind, arguments))
        return answer


def _show(screen: Screen, heading: str, paths: Sequence[str]) -> None:
    if not paths:
        return
    screen.line(heading)
    for path in paths[:_SHOWN]:
        screen.line(f"    {path}")
    if paths[_SHOWN:]:
        screen.line(f"    and {len(paths) - _SHOWN:,} more (--json shows all)")
