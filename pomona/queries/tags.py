"""Create, delete and list tags of versions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from pomona.queries.session import JsonObject, format_timestamp, open_lake, translate_read_errors
from streaming.counts import format_count
from streaming.errors import UsageError
from streaming.lake import tags
from streaming.lake.layout import Lake
from streaming.lake.retention import configured_retention, required_retention, retention_days_for
from streaming.lake.tags import Tag, check_tag, find_tag, read_tags, set_tag
from streaming.lake.versions import resolve_version
from streaming.maintenance.requests import Request
from streaming.maintenance.set_retention import SET_RETENTION


def list_tags(location: str) -> list[JsonObject]:
    """Return the tags of a lake, oldest version first: ``tag``, ``version``, ``committed``, ``created_at``."""
    lake = open_lake(location)
    with translate_read_errors():
        return [_tag_json(tag) for tag in read_tags(lake)]


def create_tag(location: str, name: str, as_of: str | None, *, force: bool) -> JsonObject:
    """Create or move a tag, and extend the retention of the tables so that VACUUM keeps the tagged version.

    Returns
    -------
    dict
        An item of `list_tags` with ``resolved`` (description of the version) and ``kept_for_days`` (new retention of
        removed files in days; None if the retention was long enough).

    Raises
    ------
    UsageError
        If the name is invalid, or names another version and `force` is False.
    SnapshotError
        If there is no such version.
    """
    lake = open_lake(location)
    with translate_read_errors():
        pinned = resolve_version(lake, as_of)
        created = Tag(name, pinned.number, pinned.committed, datetime.now(UTC))
        check_tag(lake, created, force=force)
        days = retention_days_for(lake, created, created.created_at)
        if days is not None:
            _set_retention(lake, days)
        set_tag(lake, created, force=force)
        return _tag_json(created) | {"resolved": pinned.description, "kept_for_days": days}


def _set_retention(lake: Lake, days: int) -> None:
    """Set the retention of the tables through the running stream, or in this process."""
    from streaming.ingest.request_client import submit_and_wait

    lake.validate()
    submit_and_wait(lake, Request(SET_RETENTION, {"days": days}))


def delete_tag(location: str, name: str) -> JsonObject:
    """Delete a tag; its version is kept. UsageError if there is no such tag."""
    lake = open_lake(location)
    with translate_read_errors():
        existing = find_tag(lake, name)
        if existing is None:
            raise UsageError(
                f"{lake.root} has no tag {name}: `pomona tag {lake.root}` lists the tags"
            )
        tags.delete_tag(lake, name)
        return _tag_json(existing)


def retention_note(location: str) -> str | None:
    """Compare the retention that the tags need with the one of the tables; None if there are no tags.

    VACUUM deletes removed files by age only.
    """
    lake = open_lake(location)
    with translate_read_errors():
        existing = read_tags(lake)
        needed = required_retention(existing, datetime.now(UTC))
        configured = configured_retention(lake)
    if not existing:
        return None
    days = format_count(math.ceil(needed / timedelta(days=1)), "day")
    note = (
        f"VACUUM must keep removed files for at least {days}, the age of the oldest tagged version"
    )
    configured_days = configured / timedelta(days=1)
    unit = "day" if configured_days == 1 else "days"
    retention = f"the tables are set to {configured_days:,g} {unit}"
    if configured >= needed:
        return f"{note}; {retention}"
    return f"{note}, but {retention}: create one of the tags again to extend it, or tagged versions are lost"


def _tag_json(tag: Tag) -> JsonObject:
    return {
        "tag": tag.name,
        "version": tag.version,
        "committed": format_timestamp(tag.committed),
        "created_at": format_timestamp(tag.created_at),
    }
