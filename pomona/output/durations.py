"""Parse and format durations such as ``10m`` and ``25h``."""

from __future__ import annotations

import re

from streaming.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# 100 years: a longer time before or after today may be no date.
_MAX_DAYS = 36_500


def parse_duration(text: str, option: str = "--every") -> float:
    """Convert ``45s``, ``30m``, ``1h`` or ``1d`` to seconds; UsageError if the text is malformed or too long."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not match or float(match[1]) == 0:
        raise UsageError(f"{option} {text}: give a number and a unit, such as 45s, 30m, 1h or 1d")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _MAX_DAYS * _UNITS["d"]:
        raise UsageError(f"{option} {text}: give {_MAX_DAYS}d (100 years) or less")
    return seconds


def format_age(seconds: float) -> str:
    """Format an age in the largest unit of which it has at least one, for example ``5 min ago``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def format_duration(seconds: float) -> str:
    """Format a duration, rounded to a suitable unit, for example ``3 h``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def format_elapsed(seconds: float) -> str:
    """Format the time that something has taken so far, for example ``12 s`` or ``3 min 5 s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
