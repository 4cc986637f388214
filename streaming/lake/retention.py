"""Set how long tables keep removed files: VACUUM works by age, and tagged versions must outlive it."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from streaming.delta.commit_lock import commit_lock
from streaming.delta.reader import open_table
from streaming.delta.tables import RETENTION, RETENTION_PROPERTIES, is_table, quote_table
from streaming.lake.layout import Lake
from streaming.lake.tags import Tag

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What Delta takes where a table says nothing.
_DELTAS_OWN = dict(zip(RETENTION_PROPERTIES, ("interval 30 days", "interval 1 week"), strict=True))
_PART = re.compile(r"(\d+) (second|minute|hour|day|week)s?")
_INTERVAL = re.compile(rf"(?:interval )?{_PART.pattern}(?: {_PART.pattern})*")
_YEAR = timedelta(days=365)


def required_retention(tags: list[Tag], now: datetime) -> timedelta:
    """For how long, at least, a VACUUM must keep what later versions have removed, for every tag to stay readable.

    VACUUM knows an age, and a version's files may have been removed right after it: so it is the age of the oldest
    tagged version. An hour more covers clocks that differ. Zero without tags.
    """
    oldest = min((tag.committed for tag in tags), default=None)
    return now - oldest + timedelta(hours=1) if oldest else timedelta()


def configured_retention(lake: Lake) -> timedelta:
    """For how long all tables of a lake tell VACUUM, and the cleaning of their logs, to keep what was removed."""
    return min(map(_promised, _tables(lake)))


def retention_days_for(lake: Lake, tag: Tag, now: datetime) -> int | None:
    """How many days the tables must promise for a tag to last; None where they promise enough.

    An age grows, and a promise does not: so it is the ten years that new tables have, or ten more than the age.
    """
    usual, needed = _length(RETENTION), required_retention([tag], now)
    if configured_retention(lake) >= max(usual, needed + _YEAR):
        return None
    wanted = usual if usual >= needed + _YEAR else needed + usual
    return math.ceil(wanted / timedelta(days=1))


def set_retention(spark: SparkSession, lake: Lake, days: int) -> list[str]:
    """Set how long the tables of a lake keep removed files, and return the tables that were changed.

    A table that keeps them for longer is left alone.
    """
    wanted, changed = timedelta(days=days), []
    for location in _tables(lake):
        if _promised(location) >= wanted:
            continue
        # Both at once: Delta wants a log that reaches as far back as the files.
        properties = ", ".join(
            f"'{name}' = 'interval {wanted.days} days'" for name in RETENTION_PROPERTIES
        )
        with commit_lock(location):
            spark.sql(f"ALTER TABLE {quote_table(location)} SET TBLPROPERTIES ({properties})")
        changed.append(location)
    return changed


def _tables(lake: Lake) -> list[str]:
    return [table for table in (lake.features, lake.quarantine, lake.refits) if is_table(table)]


def _promised(location: str) -> timedelta:
    told = _DELTAS_OWN | open_table(location).metadata().configuration
    return min(_length(told[name]) for name in RETENTION_PROPERTIES)


def _length(interval: str) -> timedelta:
    """The length of an interval as Delta writes it; nothing where it cannot be read, so that it is written anew."""
    text = " ".join(interval.lower().split())
    if not _INTERVAL.fullmatch(text):
        return timedelta()
    return sum(
        (timedelta(**{f"{unit}s": int(number)}) for number, unit in _PART.findall(text)),
        timedelta(),
    )
