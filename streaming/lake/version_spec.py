"""Parse a version specification into a version number, a timestamp or a tag.

``3`` · ``2026-11-01T08:00`` (UTC unless it has an offset) · ``2026-11-01`` (midnight, as in Delta) · ``3 days ago`` ·
``a week ago`` · the name of a tag · ``latest``
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from streaming.errors import UsageError
from streaming.lake.tags import is_valid_tag_name

LATEST = "latest"
EXAMPLES = 'a version number, a time such as 2026-11-01T08:00Z, a date, "3 days ago", or a tag'
# No version and no age has more digits; Python reads no more than 4,300 of them.
_NUMBER = re.compile(r"[0-9]{1,18}")
_AGO = re.compile(r"([0-9]{1,18}|an?)\s*([a-z]+)\s+ago", re.IGNORECASE)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_SHORT = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day"}
_MONTHS = {"month": 1, "year": 12}


@dataclass(frozen=True)
class Timestamp:
    """A time that was meant.

    Attributes
    ----------
    at : datetime
        In UTC.
    assumption : str
        How it was read, where the words leave something open; else empty.
    """

    at: datetime
    assumption: str = ""


@dataclass(frozen=True)
class TagName:
    """A tag that was meant, which there may be or not."""

    name: str


def parse_version_spec(words: str, now: datetime) -> int | Timestamp | TagName | None:
    """Read what a person has typed.

    Parameters
    ----------
    words : str
    now : datetime
        With its zone: what an age counts from.

    Returns
    -------
    int, Timestamp, TagName or None
        A version number, a time, a tag; None for ``latest``.

    Raises
    ------
    UsageError
        When it is nothing of that.
    """
    words = words.strip()
    if words.lower() == LATEST:
        return None
    if _NUMBER.fullmatch(words):
        return int(words)
    if age := _AGO.fullmatch(words):
        number, unit = age[1].lower(), age[2].lower()
        at = _before(now, 1 if number in ("a", "an") else int(number), unit)
        if at:
            return Timestamp(at, f"{at:%Y-%m-%dT%H:%M:%SZ}")
    try:
        return _iso(words)
    except (ValueError, OverflowError):
        if is_valid_tag_name(words):
            return TagName(words)
        raise UsageError(f"as of {words!r}: give {EXAMPLES}") from None


def _before(now: datetime, number: int, unit: str) -> datetime | None:
    """So many units before now; None for a unit that is none."""
    now = now.astimezone(UTC)
    unit = _SHORT.get(unit, unit.removesuffix("s") or unit)
    try:
        if unit in _SECONDS:
            return now - timedelta(seconds=number * _SECONDS[unit])
        if unit in _MONTHS:
            year, month = divmod(now.year * 12 + now.month - 1 - number * _MONTHS[unit], 12)
            day = min(now.day, calendar.monthrange(year, month + 1)[1])
            return now.replace(year=year, month=month + 1, day=day)
    except (OverflowError, ValueError):  # before the calendar begins
        return datetime.min.replace(tzinfo=UTC)
    return None


def _iso(words: str) -> Timestamp:
    moment = datetime.fromisoformat(words)
    if moment.tzinfo:
        # Versions are shown to the second: a time taken from there means the version that shows it.
        return Timestamp(_to_its_end(moment.astimezone(UTC)))
    date_alone = not re.search(r"\d[T ]\d", words)
    assumption = "its first moment, in UTC" if date_alone else "in UTC, since it names no zone"
    return Timestamp(_to_its_end(moment.replace(tzinfo=UTC)), assumption)


def _to_its_end(moment: datetime) -> datetime:
    return moment if moment.microsecond else moment + timedelta(microseconds=999_999)
