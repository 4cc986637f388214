"""Resolve a version specification (number, timestamp, age or tag) to a version of the features table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from streaming.delta.time_travel import commit_times, files_complete, oldest_complete_version
from streaming.errors import SnapshotError, UsageError
from streaming.lake.layout import Lake
from streaming.lake.tags import find_tag, read_tags
from streaming.lake.version_spec import EXAMPLES, TagName, Timestamp, parse_version_spec

_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ResolvedVersion:
    """The version that was meant.

    Attributes
    ----------
    number : int
        Of the features.
    committed : datetime
        In UTC.
    description : str
        For people: which version the words mean, and what was assumption.
    timestamp : datetime, optional
        The time that was meant, where it was one; the end of all time for what is there now.
    """

    number: int
    committed: datetime
    description: str = ""
    timestamp: datetime | None = None


def resolve_version(
    lake: Lake, words: str | ResolvedVersion | None, now: datetime | None = None
) -> ResolvedVersion:
    """Find the version of the features that a person means, and make sure that it can be read.

    Parameters
    ----------
    lake : Lake
    words : str, optional
        As `parse_version_spec` takes them; None is the latest. A version that was found already stays that one.
    now : datetime, optional
        With its zone; the clock's, unless it is given.

    Raises
    ------
    UsageError
        When the words mean nothing, or a tag that there is not.
    SnapshotError
        When they mean a time before the first version or in the future, a version that there is not, or one whose
        files are vacuumed away; in one line, with the range that exists.
    """
    if isinstance(words, ResolvedVersion):
        return words
    now = now or datetime.now(UTC)
    meant = parse_version_spec(words, now) if words is not None else None
    times = commit_times(lake.features)
    if not times:
        raise SnapshotError(f"{lake.features}: its log contains no version")
    if words is None or meant is None:
        number = max(times)
        # What other tables got since belongs to it too.
        return ResolvedVersion(number, times[number], _version(number, times), _END)
    found, said = _find(lake, words.strip(), meant, now, times)
    _require_whole(lake.features, found, times, f"version {found}")
    return ResolvedVersion(
        found, times[found], said, meant.at if isinstance(meant, Timestamp) else None
    )


def version_at(location: str, pinned: ResolvedVersion) -> int | None:
    """The version that another table of the lake had then; None where it had none yet.

    A micro-batch is committed to `quarantine` first: what belongs to a version of the features is there with it.
    SnapshotError where it was removed by VACUUM.
    """
    then = pinned.timestamp or pinned.committed
    times = commit_times(location)
    before = [number for number, at in times.items() if at <= then]
    if not before:
        return None
    name = location.rpartition("/")[2]
    _require_whole(location, before[-1], times, f"{name} as it was then (its version {before[-1]})")
    return before[-1]


def superseded_at(lake: Lake, pinned: ResolvedVersion) -> datetime:
    """Until when what belongs to a version was made: the time that was meant, or the commit of the version after it."""
    if pinned.timestamp:
        return pinned.timestamp
    later = (at for number, at in commit_times(lake.features).items() if number > pinned.number)
    return min(later, default=_END)


def _require_whole(location: str, number: int, times: dict[int, datetime], what: str) -> None:
    """Raise SnapshotError where files of an earlier version are gone."""
    if number == max(times) or files_complete(location, number):
        return
    first = oldest_complete_version(location, list(times))
    if first > number:
        left = {later: moment for later, moment in times.items() if later >= first}
        raise SnapshotError(f"{what} was removed by VACUUM: {_range(left)}")
    raise SnapshotError(
        f"{what} lacks data files that were not removed by VACUUM: restore {location}, or name another version"
    )


def _find(
    lake: Lake,
    words: str,
    meant: int | Timestamp | TagName,
    now: datetime,
    times: dict[int, datetime],
) -> tuple[int, str]:
    """The number of a version, and what the words mean."""
    if isinstance(meant, TagName):
        return _tagged(lake, meant.name, times)
    if isinstance(meant, int):
        if meant not in times:
            raise SnapshotError(f"no version {meant} of the features: {_range(times)}")
        return meant, _version(meant, times)
    told = f"{words} ({meant.assumption})" if meant.assumption else words
    if meant.at - timedelta(microseconds=999_999) > now:
        raise SnapshotError(f"{told} is in the future: {_range(times)}")
    before = [number for number, committed in times.items() if committed <= meant.at]
    if not before:
        raise SnapshotError(f"{told} is before the first version: {_range(times)}")
    return before[-1], f"{told} is {_version(before[-1], times)}"


def _tagged(lake: Lake, name: str, times: dict[int, datetime]) -> tuple[int, str]:
    tag = find_tag(lake, name)
    if tag is None:
        there = ", ".join(tag.name for tag in read_tags(lake)) or "none yet"
        raise UsageError(f"as of {name!r}: no such tag (there are: {there}); give {EXAMPLES}")
    if tag.version not in times:
        raise SnapshotError(
            f"tag {name} names version {tag.version}, which is no longer in the log: {_range(times)}"
        )
    return tag.version, f"tag {name} is {_version(tag.version, times)}"


def _version(number: int, times: dict[int, datetime]) -> str:
    return f"version {number} of {times[number]:%Y-%m-%dT%H:%M:%SZ}"


def _range(times: dict[int, datetime]) -> str:
    first, last = min(times), max(times)
    return f"there are {first} ({times[first]:%Y-%m-%dT%H:%M:%SZ}) to {last} ({times[last]:%Y-%m-%dT%H:%M:%SZ})"
