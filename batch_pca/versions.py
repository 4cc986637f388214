"""The versions of a table: which there are, and the one that was meant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from streaming.errors import SnapshotError, UsageError
from streaming.table_log import Version, version_of

__all__ = ["Version", "find_version", "versions"]


def versions(spark: SparkSession, location: str, last: int | None = None) -> list[Version]:
    """List the commits of a table, or the last so many, oldest first."""
    history = DeltaTable.forPath(spark, location).history(last)
    rows = history.select(
        "version",
        F.unix_millis("timestamp").alias("ms"),
        "operation",
        "operationMetrics",
        "userMetadata",
    ).collect()
    found = (version_of(row.version, row.ms, row.asDict()) for row in rows)
    return sorted(found, key=lambda version: version.number)


def find_version(known: list[Version], as_of: str | None) -> Version:
    """Find the version that a person means.

    Parameters
    ----------
    known : list of Version
        Oldest first.
    as_of : str, optional
        A version number, or a date or time in ISO 8601, in UTC unless it names a zone; None is the latest.

    Raises
    ------
    UsageError
        When the text is neither.
    SnapshotError
        When it lies before the first version or after the last.
    """
    first, last = known[0], known[-1]
    between = (
        f"there are {first.number} ({first.committed:%Y-%m-%dT%H:%M:%SZ}) "
        f"to {last.number} ({last.committed:%Y-%m-%dT%H:%M:%SZ})"
    )
    if as_of is None:
        return last
    if re.fullmatch(r"\d+", as_of):
        for version in known:
            if version.number == int(as_of):
                return version
        raise SnapshotError(f"no version {as_of} of the features: {between}")
    moment = _moment(as_of)
    if moment > datetime.now(UTC):
        raise SnapshotError(f"{as_of} is in the future (times are UTC unless they say): {between}")
    # Versions are shown to the second: a time taken from there means the version that shows it.
    if not moment.microsecond:
        moment += timedelta(microseconds=999_999)
    before = [version for version in known if version.committed <= moment]
    if not before:
        raise SnapshotError(f"{as_of} (UTC unless it says) is before the first version: {between}")
    return before[-1]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--as-of {text}: give a version number, or a time such as 2026-11-01T08:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
