"""Why an image cannot be decoded: a quarantine reason, and the problem in plain words."""

from __future__ import annotations

from typing import NamedTuple

from streaming.outcomes import Reason


class Problem(NamedTuple):
    """A reason and its explanation for the user."""

    reason: Reason
    detail: str


def corrupt(detail: str) -> Problem:
    """Return the problem of a file whose content is inconsistent."""
    return Problem(Reason.CORRUPT, detail)


def truncated(detail: str) -> Problem:
    """Return the problem of a file with missing bytes."""
    return Problem(Reason.TRUNCATED, f"{detail}; upload it again")


def unsupported(variant: str) -> Problem:
    """Return the problem of a valid file that is not decoded; `variant` names the format and what is unusual."""
    return Problem(Reason.UNSUPPORTED, f"{variant}; convert it, for example to PNG")
