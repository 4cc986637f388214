"""Tests for `pomona.output.durations`: durations that users enter, and ages that are printed."""

from __future__ import annotations

import pytest

from pomona.output.durations import format_age, parse_duration
from streaming.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1800), ("1h", 3600), ("1.5h", 5400), ("1d", 86400), (" 2h ", 7200)],
)
def test_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1 hour", "0h", "0.0s", "-1h", "1h30m", "1H", "infh", "1e3s"]
)
def test_other_text_is_rejected_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="such as 45s, 30m, 1h or 1d") as error:
        parse_duration(text)
    assert str(error.value).startswith(f"--every {text}: ")


def test_durations_above_a_century_are_rejected() -> None:
    assert parse_duration("36500d") == 36_500 * 86_400
    for text in ("36501d", "99999999999999d", "9" * 400 + "d"):
        with pytest.raises(UsageError, match=r"--older-than \d+d: give 36500d"):
            parse_duration(text, "--older-than")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7199, "1 h ago"), (200_000, "2 d ago")],
)
def test_format_age_uses_the_largest_unit(seconds: int, text: str) -> None:
    assert format_age(seconds) == text
