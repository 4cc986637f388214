"""Read a schedule of EventBridge Scheduler."""

from __future__ import annotations

from bootstrap.aws.request import Parameters, ReadApi


def find_schedule(read: ReadApi, name: str) -> Parameters | None:
    """Return a schedule of the default group; None if it does not exist."""
    return read("scheduler", "get_schedule", {"Name": name}, ("ResourceNotFoundException",))
