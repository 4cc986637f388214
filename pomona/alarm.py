"""`pomona status --max-age`: what a lake should have seen lately, and has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pomona.output.durations import ago, parse_duration
from streaming.errors import UsageError

#: What is watched: the newest row of features, the last micro-batch that wrote anything, the last refit.
WATCHED = ("row", "batch", "refit")
_OPTION = "--max-age"


def parse_limits(texts: Sequence[str]) -> dict[str, tuple[str, float]]:
    """What is to be watched, each with its limit as it was typed and in seconds.

    Parameters
    ----------
    texts : sequence of str
        ``10m`` for all of `WATCHED`, ``refit=25h`` for one; a later one counts.

    Raises
    ------
    UsageError
        For another word or duration.
    """
    limits: dict[str, tuple[str, float]] = {}
    for text in texts:
        name, _, length = text.rpartition("=")
        if name and name not in WATCHED:
            raise UsageError(f"{_OPTION} {text}: {name} is none of {', '.join(WATCHED)}")
        limit = (length, parse_duration(length, _OPTION))
        limits |= {name: limit} if name else dict.fromkeys(WATCHED, limit)
    return limits


def overdue(
    answer: Mapping[str, Any], limits: Mapping[str, tuple[str, float]], now: datetime | None = None
) -> list[dict[str, Any]]:
    """What is longer ago than its limit.

    Parameters
    ----------
    answer : mapping
        Of `pomona.pulse.pulse`.
    limits : mapping
        Of `parse_limits`.
    now : datetime, optional

    Returns
    -------
    list of dict
        ``what`` (of `WATCHED`), ``at`` (ISO 8601; None where there has been none yet: its age then is that of the
        lake), ``seconds_ago``, ``limit_seconds`` and ``told``, a sentence.
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
                    "told": f"{told} {'(' if at else ''}{ago(seconds)}{')' if at else ''}, limit {typed}",
                }
            )
    return late
