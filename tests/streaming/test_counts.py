"""Tests for counts with their nouns."""

from __future__ import annotations

import pytest

from streaming.counts import format_count


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1_000_000, "1,000,000 images")],
)
def test_noun_is_singular_only_for_one(count: int, text: str) -> None:
    assert format_count(count, "image") == text


def test_irregular_plural_is_given() -> None:
    texts = [format_count(count, "entry", "entries") for count in (1, 2)]
    assert texts == ["1 entry", "2 entries"]
