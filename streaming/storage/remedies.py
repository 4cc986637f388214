"""Remedies for errors of the system. Python, delta-rs, Arrow and Java quote the same texts of it."""

from __future__ import annotations

import re

_REMEDIES = {
    r"Permission ?denied|AccessDenied|AccessControl|Operation not permitted": (
        "give this user access, or rerun the command as a user who has it"
    ),
    r"Read-only file system": "mount the file system for writing, or choose a path on another one",
    r"No space left on device|Disk quota exceeded": "free some space, then rerun the command",
    r"File name too long": "choose a shorter path",
}
_PATTERNS = [(re.compile(text, re.IGNORECASE), remedy) for text, remedy in _REMEDIES.items()]


def storage_remedy(error: Exception) -> str:
    """Return what to do about an error of a storage."""
    return find_remedy(str(error)) or "check its disk, and rerun the command"


def find_remedy(text: str) -> str:
    """Return what to do about an error, given its text; an empty string if that is not known.

    Examples
    --------
    >>> find_remedy("[Errno 36] File name too long: 'x…'")
    'choose a shorter path'
    """
    return next((remedy for pattern, remedy in _PATTERNS if pattern.search(text)), "")
