"""Tests for `streaming.errors`."""

from __future__ import annotations

import pytest

from streaming.errors import first_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot read a\u2028b.jpg.\nat line 3", "cannot read a\u2028b.jpg"),
        ("\n first\x85 line \nsecond", "first\x85 line "),
        ("", "ValueError"),
    ],
)
def test_only_line_feed_ends_first_line(text: str, expected: str) -> None:
    assert first_line(ValueError(text)) == expected
