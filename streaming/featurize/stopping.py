"""The exception that ends the work in progress when a stop of the stream is requested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class StopRequested(Exception):
    """A stop was requested before all images were processed; the rest is delivered again."""


def until_stopped(items: Iterable[Item], stopped: Callable[[], bool]) -> Iterator[Item]:
    """Yield the items; raise StopRequested once `stopped` returns True."""
    for item in items:
        if stopped():
            raise StopRequested
        yield item
