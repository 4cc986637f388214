"""Parse a version specification into a version number, a timestamp or a tag.

Accepted are ``3``, ``2026-11-01T08:00`` (UTC unless it has an offset), ``2026-11-01`` (midnight, as in Delta),
``3 days ago``, ``a week ago``, the name of a tag, and ``latest``.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from streaming.arguments import check_argument
from streaming.errors import UsageError
from streaming.lake.tags import is_valid_tag_name

LATEST = "latest"
EXAMPLES = 'a version number, a time such as 2026-11-01T08:00Z, a date, "3 days ago", or a tag'
# More digits are in no version and no age. `int` raises ValueError above 4,300 digits.
_NUMBER = re.compile(r"[0-9]{1,18}")
_AGO = re.compile(r"([0-9]{1,18}|an?)\s*([a-z]+)\s+ago", re.IGNORECASE)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_SHORT = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day"}
_MONTHS = {"month": 1, "year": 12}


#: What the Python interface accepts as a version specification.
VersionSpec = str | int | date


def spec_text(spec: VersionSpec, name: str = "as_of") -> str:
    """Return a version specification as text; UsageError, which names the argument, if it has another type."""
    return str(check_argument(name, spec, VersionSpec))


@dataclass(frozen=True)
class Timestamp:
    """A point in time.

    Attributes
    ----------
    at : datetime
        In UTC.
    assumption : str
        How an incomplete time was completed; empty if it was complete.
    """

    at: datetime
    assumption: str = ""


@dataclass(frozen=True)
class TagName:
    """The name of a tag, which may not exist."""

    name: str


def parse_version_spec(spec: str, now: datetime) -> int | Timestamp | TagName | None:
    """Parse a version specification.

    Parameters
    ----------
    spec : str
    now : datetime
        The time from which an age counts; timezone-aware.

    Returns
    -------
    int, Timestamp, TagName or None
        None for ``latest``.

    Raises
    ------
    UsageError
        If it cannot be parsed.
    """
    spec = spec.strip()
    if spec.lower() == LATEST:
        return None
    if _NUMBER.fullmatch(spec):
        return int(spec)
    if age := _AGO.fullmatch(spec):
        number, unit = age[1].lower(), age[2].lower()
        at = _subtract(now, 1 if number in ("a", "an") else int(number), unit)
        if at:
            return Timestamp(at, f"{at:%Y-%m-%dT%H:%M:%SZ}")
    try:
        return _parse_iso(spec)
    except (ValueError, OverflowError):
        if is_valid_tag_name(spec):
            return TagName(spec)
        raise UsageError(f"as of {spec!r}: give {EXAMPLES}") from None


def _subtract(now: datetime, number: int, unit: str) -> datetime | None:
    """Subtract a number of units from a time; return None for an unknown unit."""
    now = now.astimezone(UTC)
    unit = _SHORT.get(unit, unit.removesuffix("s") or unit)
    try:
        if unit in _SECONDS:
            return now - timedelta(seconds=number * _SECONDS[unit])
        if unit in _MONTHS:
            year, month = divmod(now.year * 12 + now.month - 1 - number * _MONTHS[unit], 12)
            day = min(now.day, calendar.monthrange(year, month + 1)[1])
            return now.replace(year=year, month=month + 1, day=day)
    except (OverflowError, ValueError):  # before year 1
        return datetime.min.replace(tzinfo=UTC)
    return None


def _parse_iso(text: str) -> Timestamp:
    time = datetime.fromisoformat(text)
    if time.tzinfo:
        return Timestamp(_end_of_second(time.astimezone(UTC)))
    is_date = not re.search(r"\d[T ]\d", text)
    assumption = "start of the day, UTC" if is_date else "UTC, as no time zone is given"
    return Timestamp(_end_of_second(time.replace(tzinfo=UTC)), assumption)


def _end_of_second(time: datetime) -> datetime:
    """Return the end of the second, so that a time copied from a displayed version selects that version."""
    return time if time.microsecond else time + timedelta(microseconds=999_999)
