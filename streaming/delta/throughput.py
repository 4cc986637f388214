"""Duration of a batch and images per second: the definitions behind progress, summary, `status` and `history`.

A batch is what one commit of images contains: a micro-batch, a part of a long one, or a sweep. Its images are the rows
that it writes to features and quarantine. Its duration is the time from its start to the commit of these rows. It
starts when its files are delivered, or at the commit of the part before. docs/reference/counts-and-rates.md has all
definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Key of the commit metadata: start of the batch, in milliseconds since 1970, by the clock that writes the commit.
STARTED = "started"


def images_per_second(images: int, seconds: float | None) -> float | None:
    """Return images divided by duration, rounded to one decimal; None if either is unknown or zero."""
    return round(images / seconds, 1) if images and seconds else None


def duration(started_ms: int, committed_ms: int) -> float:
    """Return the duration of a batch in seconds: at least a millisecond, the resolution of commit times."""
    return max(committed_ms - started_ms, 1) / 1000


def images_of_commit(metadata: Mapping[str, Any]) -> int:
    """Return the number of images that a batch wrote to both tables, from its commit metadata."""
    return int(metadata.get("images", 0)) + int(metadata.get("quarantined", 0))


def duration_of_commit(info: Mapping[str, Any], metadata: Mapping[str, Any]) -> float | None:
    """Return the duration of a batch from its commit; None for other commits.

    Parameters
    ----------
    info : mapping
        The ``commitInfo`` action. Its own time counts, even if `history` shows a later one because of other writers.
    metadata : mapping
        The commit metadata. Builds before format 5 was released recorded only the ``seconds`` of computing.
    """
    started, committed = metadata.get(STARTED), info.get("timestamp")
    if isinstance(started, int) and isinstance(committed, int):
        return duration(started, committed)
    seconds = metadata.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None
