"""Tests for `streaming.lake.version_spec`: what people type for a version, read as they mean it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from dateutil.relativedelta import relativedelta

from streaming.errors import UsageError
from streaming.lake.version_spec import TagName, Timestamp, parse_version_spec

NOW = datetime(2026, 3, 31, 12, 30, 15, 250_000, tzinfo=UTC)
NEARLY = timedelta(microseconds=999_999)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text) + NEARLY


@pytest.mark.parametrize(
    ("words", "number"), [("2", 2), ("0003", 3), (" 7 ", 7), ("20260301", 20260301)]
)
def test_digits_are_the_number_of_a_version(words: str, number: int) -> None:
    assert parse_version_spec(words, NOW) == number


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("2026-03-03T13:30Z", "2026-03-03T13:30:00+00:00"),
        ("2026-03-03T13:30+00:00", "2026-03-03T13:30:00+00:00"),
        ("2026-03-03T14:30+02:00", "2026-03-03T12:30:00+00:00"),
        ("2026-03-03 12:30:07-01:00", "2026-03-03T13:30:07+00:00"),
        ("20260303T133000Z", "2026-03-03T13:30:00+00:00"),
    ],
)
def test_a_time_with_a_zone_is_that_moment_and_nothing_is_assumed(words: str, moment: str) -> None:
    assert parse_version_spec(words, NOW) == Timestamp(at(moment))


@pytest.mark.parametrize("words", ["2026-03-03T13:30", "2026-03-03 13:30:00", "20260303T1330"])
def test_a_time_without_a_zone_is_utc_and_that_is_said(words: str) -> None:
    expected = Timestamp(at("2026-03-03T13:30:00+00:00"), "in UTC, since it names no zone")
    assert parse_version_spec(words, NOW) == expected


@pytest.mark.parametrize("words", ["2026-03-03", "2026-W10-2"])
def test_a_date_is_its_first_moment_and_that_is_said(words: str) -> None:
    assert parse_version_spec(words, NOW) == Timestamp(
        at("2026-03-03T00:00:00+00:00"), "its first moment, in UTC"
    )


def test_a_fraction_of_a_second_is_taken_as_it_is() -> None:
    meant = parse_version_spec("2026-03-03T12:00:00.345Z", NOW)
    assert meant == Timestamp(datetime(2026, 3, 3, 12, 0, 0, 345_000, tzinfo=UTC))


@pytest.mark.parametrize(
    ("words", "delta"),
    [
        ("3 days ago", relativedelta(days=3)),
        ("1 day ago", relativedelta(days=1)),
        ("3d ago", relativedelta(days=3)),
        ("90 minutes ago", relativedelta(minutes=90)),
        ("90m ago", relativedelta(minutes=90)),
        ("90 min ago", relativedelta(minutes=90)),
        ("an hour ago", relativedelta(hours=1)),
        ("2h ago", relativedelta(hours=2)),
        ("45 seconds ago", relativedelta(seconds=45)),
        ("45s ago", relativedelta(seconds=45)),
        ("A week ago", relativedelta(weeks=1)),
        ("2  Weeks  ago", relativedelta(weeks=2)),
        ("1 month ago", relativedelta(months=1)),  # of 31 March: the last of February
        ("13 months ago", relativedelta(months=13)),
        ("a year ago", relativedelta(years=1)),
    ],
)
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_an_age_counts_back_from_now_and_the_moment_is_said(
    words: str, delta: relativedelta, zone: timezone
) -> None:
    meant = parse_version_spec(words, NOW.astimezone(zone))
    expected = NOW - delta
    assert meant == Timestamp(expected, f"{expected:%Y-%m-%dT%H:%M:%SZ}")


@pytest.mark.parametrize(
    "words", ["99999999 days ago", "99999999999999 weeks ago", "3000 years ago"]
)
def test_an_age_beyond_the_calendar_is_its_beginning(words: str) -> None:
    meant = parse_version_spec(words, NOW)
    assert isinstance(meant, Timestamp)
    assert meant.at == datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize("words", ["march", "v3", "release-2026.03", "Q1_final", "ago", "s"])
def test_a_word_is_a_tag(words: str) -> None:
    assert parse_version_spec(words, NOW) == TagName(words)


@pytest.mark.parametrize("words", ["latest", " Latest "])
def test_latest_is_no_tag(words: str) -> None:
    assert parse_version_spec(words, NOW) is None


WRONG = [
    "",
    " ",
    "-1",
    "1.5",
    "2026-13-01",
    "2026-02-30",
    "12:00",
    "3 dogs ago",
    "days ago",
    "1.5 days ago",
]


@pytest.mark.parametrize(
    "words", [*WRONG, "3 days", "yesterday", "now", "a/b", "../x", ".x", "é", "x" * 65, "٣"]
)
def test_anything_else_is_refused_with_what_can_be_given(words: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_version_spec(words, NOW)
    told = str(refused.value)
    assert told.startswith(f"as of {words.strip()!r}: give a version number, a time such as ")
    assert '"3 days ago", or a tag' in told
