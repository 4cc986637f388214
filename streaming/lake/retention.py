"""Set how long tables keep removed files: VACUUM works by age, and tagged versions must outlive it."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from streaming.delta.reader import open_table
from streaming.delta.tables import RETENTION, RETENTION_PROPERTIES, is_table, set_properties
from streaming.lake.layout import Lake
from streaming.lake.tags import Tag

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Delta's defaults for tables without these properties.
_DEFAULTS = dict(zip(RETENTION_PROPERTIES, ("interval 30 days", "interval 1 week"), strict=True))
_PART = re.compile(r"(\d+) (second|minute|hour|day|week)s?")
_INTERVAL = re.compile(rf"(?:interval )?{_PART.pattern}(?: {_PART.pattern})*")
_YEAR = timedelta(days=365)


def required_retention(tags: list[Tag], now: datetime) -> timedelta:
    """Return how long VACUUM must keep removed files so that all tagged versions stay readable.

    VACUUM deletes by age, and files of a version may be removed by the very next one. So the result is the age of the
    oldest tagged version, and an hour more in case clocks differ. It is zero without tags.
    """
    oldest = min((tag.committed for tag in tags), default=None)
    return now - oldest + timedelta(hours=1) if oldest else timedelta()


def configured_retention(lake: Lake) -> timedelta:
    """Return how long all tables of a lake keep removed files and log entries: the shortest of their settings."""
    return min(map(_table_retention, _existing_tables(lake)))


def retention_days_for(lake: Lake, tag: Tag, now: datetime) -> int | None:
    """Return the retention in days that the tables need for a tag; None if the configured one is long enough.

    The age of a tagged version grows, and the retention does not. So it is ten years, as for new tables, or the age
    and ten years more.
    """
    default, needed = _parse_interval(RETENTION), required_retention([tag], now)
    if configured_retention(lake) >= max(default, needed + _YEAR):
        return None
    wanted = default if default >= needed + _YEAR else needed + default
    return math.ceil(wanted / timedelta(days=1))


def set_retention(spark: SparkSession, lake: Lake, days: int) -> list[str]:
    """Set how long the tables of a lake keep removed files, and return the tables that were changed.

    Tables with a longer retention are not changed.
    """
    wanted, changed = timedelta(days=days), []
    for location in _existing_tables(lake):
        if _table_retention(location) >= wanted:
            continue
        # Set both in one commit: Delta requires that the log is kept as long as the files.
        interval = f"interval {wanted.days} days"
        set_properties(spark, location, dict.fromkeys(RETENTION_PROPERTIES, interval))
        changed.append(location)
    return changed


def _existing_tables(lake: Lake) -> list[str]:
    return [table for table in (lake.features, lake.quarantine, lake.refits) if is_table(table)]


def _table_retention(location: str) -> timedelta:
    properties = _DEFAULTS | open_table(location).metadata().configuration
    return min(_parse_interval(properties[name]) for name in RETENTION_PROPERTIES)


def _parse_interval(interval: str) -> timedelta:
    """Parse an interval of a Delta property; return zero if it cannot be parsed, so that it is set again."""
    text = " ".join(interval.lower().split())
    if not _INTERVAL.fullmatch(text):
        return timedelta()
    return sum(
        (timedelta(**{f"{unit}s": int(number)}) for number, unit in _PART.findall(text)),
        timedelta(),
    )
