"""Resolve a version specification (number, timestamp, age or tag) to a version of the features table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from streaming.delta.time_travel import (
    commit_times,
    files_complete,
    latest_version,
    oldest_complete_version,
)
from streaming.errors import SnapshotError, UsageError
from streaming.lake.layout import Lake
from streaming.lake.tags import find_tag, read_tags
from streaming.lake.version_spec import (
    EXAMPLES,
    LATEST,
    TagName,
    Timestamp,
    VersionSpec,
    parse_version_spec,
    spec_text,
)

_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ResolvedVersion:
    """A version of the features, resolved from a version specification.

    Attributes
    ----------
    committed : datetime
        In UTC.
    description : str
        For messages: the specification, how it was completed, and the version.
    timestamp : datetime, optional
        The specified time, if it was a time; `datetime.max` for the latest version.
    """

    number: int
    committed: datetime
    description: str = ""
    timestamp: datetime | None = None


def resolve_version(
    lake: Lake, spec: VersionSpec | ResolvedVersion | None, now: datetime | None = None
) -> ResolvedVersion:
    """Resolve a version specification, and check that the data files of the version exist.

    Parameters
    ----------
    lake : Lake
    spec : str, int, date or ResolvedVersion, optional
        A specification for `parse_version_spec`; None is the latest version. A resolved version is returned
        unchanged.
    now : datetime, optional
        The time from which an age counts; timezone-aware. By default the current time.

    Raises
    ------
    UsageError
        If the specification cannot be parsed, or the tag does not exist.
    SnapshotError
        If the version does not exist, the time is before the first version or in the future, or VACUUM deleted the
        files. The message is one line, with the range of available versions.
    """
    if isinstance(spec, ResolvedVersion):
        return spec
    now = now or datetime.now(UTC)
    text = LATEST if spec is None else spec_text(spec)
    parsed = parse_version_spec(text, now)
    if parsed is None:
        latest = latest_version(lake.features)
        if latest is None:
            raise _no_version(lake)
        # Rows of other tables that were written later belong to the latest version too.
        return ResolvedVersion(*latest, _version_text(latest[0], dict([latest])), _END)
    times = commit_times(lake.features)
    if not times:
        raise _no_version(lake)
    number, description = _find(lake, text.strip(), parsed, now, times)
    _check_files(lake.features, number, times, f"version {number}")
    timestamp = parsed.at if isinstance(parsed, Timestamp) else None
    return ResolvedVersion(number, times[number], description, timestamp)


def _no_version(lake: Lake) -> SnapshotError:
    lake.check_exists()
    return SnapshotError(f"{lake.features}: its log contains no version")


def version_at(location: str, version: ResolvedVersion) -> int | None:
    """Return the version of another table of the lake at the time of a features version; None if it had none yet.

    A micro-batch commits to the quarantine first, so rows that belong to a features version are in the quarantine by
    then. Raises SnapshotError if VACUUM deleted the files.
    """
    until = version.timestamp or version.committed
    times = commit_times(location)
    numbers = [number for number, time in times.items() if time <= until]
    if not numbers:
        return None
    number, name = numbers[-1], location.rpartition("/")[2]
    _check_files(location, number, times, f"version {number} of {name}, the one at that time,")
    return number


def superseded_at(lake: Lake, version: ResolvedVersion) -> datetime:
    """Return the time until which rows of other tables belong to a version.

    That is the specified time, or the commit time of the next version.
    """
    if version.timestamp:
        return version.timestamp
    times = commit_times(lake.features)
    later = (time for number, time in times.items() if number > version.number)
    return min(later, default=_END)


def _check_files(location: str, number: int, times: dict[int, datetime], name: str) -> None:
    """Raise SnapshotError if data files of a version do not exist."""
    if number == max(times) or files_complete(location, number):
        return
    first = oldest_complete_version(location, list(times))
    if first > number:
        available = {later: time for later, time in times.items() if later >= first}
        raise SnapshotError(f"{name} was removed by VACUUM: {_range_text(available)}")
    raise SnapshotError(
        f"{name} lacks data files that were not removed by VACUUM: restore {location}, or use another version"
    )


def _find(
    lake: Lake,
    spec: str,
    parsed: int | Timestamp | TagName,
    now: datetime,
    times: dict[int, datetime],
) -> tuple[int, str]:
    """Return the number of a version, and a description of it."""
    if isinstance(parsed, TagName):
        return _find_tagged(lake, parsed.name, times)
    if isinstance(parsed, int):
        if parsed not in times:
            raise SnapshotError(f"no version {parsed} of the features: {_range_text(times)}")
        return parsed, _version_text(parsed, times)
    text = f"{spec} ({parsed.assumption})" if parsed.assumption else spec
    if parsed.at > now + timedelta(microseconds=999_999):
        raise SnapshotError(f"{text} is in the future: {_range_text(times)}")
    before = [number for number, committed in times.items() if committed <= parsed.at]
    if not before:
        raise SnapshotError(f"{text} is before the first version: {_range_text(times)}")
    return before[-1], f"{text} is {_version_text(before[-1], times)}"


def _find_tagged(lake: Lake, name: str, times: dict[int, datetime]) -> tuple[int, str]:
    tag = find_tag(lake, name)
    if tag is None:
        existing = ", ".join(tag.name for tag in read_tags(lake)) or "none"
        raise UsageError(
            f"as of {name!r}: no such tag (existing tags: {existing}); give {EXAMPLES}"
        )
    if tag.version not in times:
        raise SnapshotError(
            f"tag {name} points to version {tag.version}, which is no longer in the log: {_range_text(times)}"
        )
    return tag.version, f"tag {name} is {_version_text(tag.version, times)}"


def _version_text(number: int, times: dict[int, datetime]) -> str:
    return f"version {number} of {times[number]:%Y-%m-%dT%H:%M:%SZ}"


def _range_text(times: dict[int, datetime]) -> str:
    first, last = min(times), max(times)
    return (
        f"available are {first} ({times[first]:%Y-%m-%dT%H:%M:%SZ}) to "
        f"{last} ({times[last]:%Y-%m-%dT%H:%M:%SZ})"
    )
