"""The versions of a lake's features as answers: which there are, and what they are called."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from pomona.asking import Answer, explained, iso, open_lake
from streaming.delta.log import Version, read_commits
from streaming.delta.reader import open_table, rows_of
from streaming.delta.tables import is_table
from streaming.errors import UsageError
from streaming.lake.layout import Lake
from streaming.lake.retention import KEEP, days_to_keep, least_retention, promised_retention
from streaming.lake.tags import Tag, check_tag, find_tag, read_tags, set_tag
from streaming.lake.versions import Pinned, resolve
from streaming.maintenance.requests import Request
from streaming.storage.open import storage_of


def pin(location: str, as_of: str | None) -> Pinned | None:
    """The version that is meant, for all that is asked about it; None where nothing is said."""
    if as_of is None:
        return None
    lake = open_lake(location)
    with explained():
        return resolve(lake, as_of)


def history(location: str, as_of: str | Pinned | None = None) -> list[Answer]:
    """Versions of the features table, up to one of them or all.

    Returns
    -------
    list of dict
        Oldest first: ``version``, ``committed`` (ISO 8601), ``operation``, ``added``, ``replaced``, ``removed``,
        ``total`` (rows after it), ``images_per_second``, ``refits`` (the ids of those made of it) and ``tags``.
    """
    lake = open_lake(location)
    with explained():
        names = names_of(lake)
        last = resolve(lake, as_of).number
        # Told backwards from what there was then, since the oldest commits may be gone from the log.
        total = rows_of(open_table(lake.features, last), "count(*) AS rows")[0]["rows"]
        told = []
        for version in reversed(read_commits(lake.features)):
            if version.number > last:
                continue
            of_it = {kind: of.get(version.number, []) for kind, of in names.items()}
            told.append(_told(version, total) | of_it)
            total += version.removed - version.added
        return told[::-1]


def _told(version: Version, total: int) -> Answer:
    seconds = version.told.get("seconds")
    return {
        "version": version.number,
        "committed": iso(version.committed),
        "operation": version.operation,
        "added": version.added,
        "replaced": version.replaced,
        "removed": version.removed,
        "total": total,
        "images_per_second": round(version.told.get("images", 0) / seconds, 1) if seconds else None,
    }


def names_of(lake: Lake) -> dict[str, dict[int, list[str]]]:
    """By version, the ids of its ``refits``, oldest first, and its ``tags``."""
    names: dict[str, dict[int, list[str]]] = {"refits": {}, "tags": {}}
    if is_table(lake.refits):
        columns = "refit_id, features_version"
        for made in rows_of(open_table(lake.refits), columns, "ORDER BY created_at"):
            names["refits"].setdefault(made["features_version"], []).append(made["refit_id"])
    for tag in read_tags(lake):
        names["tags"].setdefault(tag.version, []).append(tag.name)
    return names


def tags(location: str) -> list[Answer]:
    """The tags of a lake, the oldest version first: ``tag``, ``version``, ``committed``, ``made_at``."""
    lake = open_lake(location)
    with explained():
        return [_tag(tag) for tag in read_tags(lake)]


def tag(location: str, name: str, as_of: str | None, *, force: bool) -> Answer:
    """Give a version a name, and see to it that a VACUUM spares that version.

    Returns
    -------
    dict
        That of `tags`, with ``meant`` (which version it is, and what was assumed) and ``kept_for_days``: what the
        lake's tables were told to keep what is removed for; None where they did for long enough.

    Raises
    ------
    UsageError
        For a name that is none, or is another version's and there is no force.
    SnapshotError
        Where there is no such version.
    """
    lake = open_lake(location)
    with explained():
        pinned = resolve(lake, as_of)
        made = Tag(name, pinned.number, pinned.committed, datetime.now(UTC))
        check_tag(lake, made, force=force)
        days = days_to_keep(lake, made, made.made_at)
        if days is not None:
            _keep(lake, days)
        set_tag(lake, made, force=force)
        return _tag(made) | {"meant": pinned.said, "kept_for_days": days}


def _keep(lake: Lake, days: int) -> None:
    """Have whoever holds the lake, or this process, tell the tables."""
    from streaming.ingest.request_client import ask

    lake.require()
    ask(lake, Request(KEEP, {"days": days}))


def untag(location: str, name: str) -> Answer:
    """Take a name away; its version stays. UsageError where there is no such tag."""
    lake = open_lake(location)
    with explained():
        found = find_tag(lake, name)
        if found is None:
            raise UsageError(f"{lake.root} has no tag {name}: `pomona tag` lists those that it has")
        storage_of(lake.root).delete(f"{lake.tags}/{name}.json")
        return _tag(found)


def retention_note(location: str) -> str | None:
    """What lets the tagged versions outlive a VACUUM, which knows ages alone, for people; None without tags."""
    lake = open_lake(location)
    with explained():
        made = read_tags(lake)
        needed = least_retention(made, datetime.now(UTC))
        promised = promised_retention(lake)
    if not made:
        return None
    days = math.ceil(needed / timedelta(days=1))
    unit = "day" if days == 1 else "days"
    note = f"VACUUM must keep what was removed for {days:,} {unit} or longer, the age of the oldest tag"
    told = f"the tables tell it {promised / timedelta(days=1):,g}"
    if promised >= needed:
        return f"{note}; {told}"
    return f"{note}, and {told}: give one of the tags again, which sets it, or they are lost"


def _tag(made: Tag) -> Answer:
    return {
        "tag": made.name,
        "version": made.version,
        "committed": iso(made.committed),
        "made_at": iso(made.made_at),
    }


def pinned_json(pinned: Pinned) -> Answer:
    """A version that was meant, as an answer."""
    return {"version": pinned.number, "committed": iso(pinned.committed), "meant": pinned.said}
