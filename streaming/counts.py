"""Format counts with their nouns, such as ``1 image`` and ``2,000 images``."""

from __future__ import annotations


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun; `plural` is needed if it is not the noun with an ``s``.

    Examples
    --------
    >>> format_count(1, "image"), format_count(2000, "image"), format_count(0, "entry", "entries")
    ('1 image', '2,000 images', '0 entries')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
