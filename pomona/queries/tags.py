"""Create, delete and list tags of versions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from pomona.queries.session import JsonObject, format_timestamp, open_lake, translate_read_errors
from streaming.errors import UsageError
from streaming.lake.layout import Lake
from streaming.lake.retention import configured_retention, required_retention, retention_days_for
from streaming.lake.tags import Tag, check_tag, find_tag, read_tags, set_tag
from streaming.lake.versions import resolve_version
from streaming.maintenance.requests import Request
from streaming.maintenance.set_retention import SET_RETENTION
from streaming.storage.open import open_storage


def list_tags(location: str) -> list[JsonObject]:
    """The tags of a lake, the oldest version first: ``tag``, ``version``, ``committed``, ``created_at``."""
    lake = open_lake(location)
    with translate_read_errors():
        return [_tag(tag) for tag in read_tags(lake)]


def create_tag(location: str, name: str, as_of: str | None, *, force: bool) -> JsonObject:
    """Give a version a name, and see to it that a VACUUM spares that version.

    Returns
    -------
    dict
        That of `tags`, with ``resolved`` (which version it is, and what was assumed) and ``kept_for_days``: what the
        lake's tables were told to keep what is removed for; None where they did for long enough.

    Raises
    ------
    UsageError
        For a name that is none, or is another version's and there is no force.
    SnapshotError
        Where there is no such version.
    """
    lake = open_lake(location)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of)
        made = Tag(name, pinned.number, pinned.committed, datetime.now(UTC))
        check_tag(lake, made, force=force)
        days = retention_days_for(lake, made, made.created_at)
        if days is not None:
            _keep(lake, days)
        set_tag(lake, made, force=force)
        return _tag(made) | {"resolved": pinned.description, "kept_for_days": days}


def _keep(lake: Lake, days: int) -> None:
    """Have whoever holds the lake, or this process, tell the tables."""
    from streaming.ingest.request_client import submit_and_wait

    lake.validate()
    submit_and_wait(lake, Request(SET_RETENTION, {"days": days}))


def delete_tag(location: str, name: str) -> JsonObject:
    """Take a name away; its version stays. UsageError where there is no such tag."""
    lake = open_lake(location)
    with translate_read_errors():
        found = find_tag(lake, name)
        if found is None:
            raise UsageError(f"{lake.root} has no tag {name}: `pomona tag` lists the tags")
        open_storage(lake.root).delete(f"{lake.tags}/{name}.json")
        return _tag(found)


def retention_note(location: str) -> str | None:
    """What lets the tagged versions outlive a VACUUM, which knows ages alone, for people; None without tags."""
    lake = open_lake(location)
    with translate_read_errors():
        made = read_tags(lake)
        needed = required_retention(made, datetime.now(UTC))
        promised = configured_retention(lake)
    if not made:
        return None
    days = math.ceil(needed / timedelta(days=1))
    unit = "day" if days == 1 else "days"
    note = f"VACUUM must keep what was removed for {days:,} {unit} or longer, the age of the oldest tag"
    told = f"the tables tell it {promised / timedelta(days=1):,g}"
    if promised >= needed:
        return f"{note}; {told}"
    return f"{note}, and {told}: give one of the tags again, which sets it, or they are lost"


def _tag(made: Tag) -> JsonObject:
    return {
        "tag": made.name,
        "version": made.version,
        "committed": format_timestamp(made.committed),
        "created_at": format_timestamp(made.created_at),
    }
