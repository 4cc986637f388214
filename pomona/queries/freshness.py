"""Freshness of a lake: times of the last row, micro-batch and refit, read from the transaction logs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pomona.output.durations import format_age, parse_duration
from pomona.queries.session import JsonObject, format_timestamp, open_lake, translate_read_errors
from pomona.queries.status import last_batch_of
from streaming.delta.log import read_commits_backwards
from streaming.delta.reader import open_tables, query_rows
from streaming.delta.tables import is_table
from streaming.errors import UsageError

if TYPE_CHECKING:
    from deltalake import DeltaTable

_NEWEST = "max.ingested_at"


def read_freshness(location: str) -> JsonObject:
    """The times of a lake's last row, micro-batch and refit.

    Files of rows are not opened: in a stream of years there are many, and on S3 each is a request.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.

    Returns
    -------
    dict
        ``lake``, ``created``, ``rows``, and of what there has been any: ``last_row``, ``last_batch`` (the last commit
        of images to features or quarantine), ``last_refit``. Times are ISO 8601, in UTC; None where there was none.
    """
    lake = open_lake(location)
    with translate_read_errors():
        places = [lake.features, lake.quarantine]
        if is_table(lake.refits):
            places.append(lake.refits)
        features, quarantined, *refits = open_tables(*places)
        rows, newest = _rows(features)
        batch = last_batch_of(lake, features, quarantined)
        made = None
        for table in refits:
            commits = read_commits_backwards(lake.refits, table.version())
            # An upgrade of the lake may have copied the rows.
            refits_only = (c for c in commits if c.changed_rows and "upgrade" not in c.metadata)
            made = next(refits_only, None)
        return {
            "lake": lake.root,
            "created": format_timestamp(
                datetime.fromtimestamp((features.metadata().created_time or 0) / 1000, UTC)
            ),
            "rows": rows,
            "last_row": newest and format_timestamp(newest),
            "last_batch": batch and format_timestamp(batch.committed),
            "last_refit": made and format_timestamp(made.committed),
        }


def _rows(features: DeltaTable) -> tuple[int, datetime | None]:
    """How many rows there are, and when the newest was made, as the log says of each file."""
    files: Any = features.get_add_actions(flatten=True)
    if not files.num_rows:
        return 0, None
    if {"num_records", _NEWEST} <= set(files.schema.names):
        counts, newest = files.column("num_records").to_pylist(), files.column(_NEWEST).to_pylist()
        if None not in counts and None not in newest:
            return sum(counts), max(newest)
    # Another program has written files of which it says nothing.
    found = query_rows(features, "count(*) AS rows, max(ingested_at) AS newest")[0]
    return found["rows"], found["newest"]


#: What is watched: the newest row of features, the last micro-batch that wrote anything, the last refit.
MONITORED_EVENTS = ("row", "batch", "refit")
_OPTION = "--max-age"


def parse_max_ages(texts: Sequence[str]) -> dict[str, tuple[str, float]]:
    """What is to be watched, each with its limit as it was typed and in seconds.

    Parameters
    ----------
    texts : sequence of str
        ``10m`` for all of `MONITORED_EVENTS`, ``refit=25h`` for one; a later one counts.

    Raises
    ------
    UsageError
        For another word or duration.
    """
    limits: dict[str, tuple[str, float]] = {}
    for text in texts:
        name, _, length = text.rpartition("=")
        if name and name not in MONITORED_EVENTS:
            raise UsageError(f"{_OPTION} {text}: {name} is none of {', '.join(MONITORED_EVENTS)}")
        limit = (length, parse_duration(length, _OPTION))
        limits |= {name: limit} if name else dict.fromkeys(MONITORED_EVENTS, limit)
    return limits


def find_overdue(
    answer: Mapping[str, Any], limits: Mapping[str, tuple[str, float]], now: datetime | None = None
) -> list[dict[str, Any]]:
    """What is longer ago than its limit.

    Parameters
    ----------
    answer : mapping
        Of `pomona.queries.freshness.read_freshness`.
    limits : mapping
        Of `parse_max_ages`.
    now : datetime, optional

    Returns
    -------
    list of dict
        ``what`` (of `MONITORED_EVENTS`), ``at`` (ISO 8601; None before the first event: the age of the lake is used),
        ``seconds_ago``, ``limit_seconds`` and ``message``.
    """
    late = []
    for what, (typed, limit) in limits.items():
        at = answer[f"last_{what}"]
        since = datetime.fromisoformat(at or answer["created"])
        seconds = ((now or datetime.now(UTC)) - since).total_seconds()
        if seconds > limit:
            told = f"the last {what} was at {at}" if at else f"no {what} yet in a lake made"
            late.append(
                {
                    "what": what,
                    "at": at,
                    "seconds_ago": round(seconds),
                    "limit_seconds": limit,
                    "message": f"{told} {'(' if at else ''}{format_age(seconds)}{')' if at else ''}, limit {typed}",
                }
            )
    return late
