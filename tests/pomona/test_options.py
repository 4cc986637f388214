"""Tests for `pomona.options`."""

from __future__ import annotations

import pytest
import typer

from pomona.options import parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("600", 600), ("10m", 600), ("1h", 3600), ("0.5", 0.5), ("0", 0)]
)
def test_seconds_are_a_number_or_a_duration(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-10m", "soon"])
def test_other_text_is_rejected_with_its_value_and_examples(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=rf"^{text}: give seconds, .* such as 45s, 10m"):
        parse_seconds(text)
