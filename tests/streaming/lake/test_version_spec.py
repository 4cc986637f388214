"""Tests for `streaming.lake.version_spec`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from dateutil.relativedelta import relativedelta

from streaming.errors import UsageError
from streaming.lake.version_spec import TagName, Timestamp, parse_version_spec

NOW = datetime(2026, 3, 31, 12, 30, 15, 250_000, tzinfo=UTC)
END_OF_SECOND = timedelta(microseconds=999_999)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text) + END_OF_SECOND


@pytest.mark.parametrize(
    ("spec", "number"), [("2", 2), ("0003", 3), (" 7 ", 7), ("20260301", 20260301)]
)
def test_digits_are_a_version_number(spec: str, number: int) -> None:
    assert parse_version_spec(spec, NOW) == number


@pytest.mark.parametrize(
    ("spec", "time"),
    [
        ("2026-03-03T13:30Z", "2026-03-03T13:30:00+00:00"),
        ("2026-03-03T13:30+00:00", "2026-03-03T13:30:00+00:00"),
        ("2026-03-03T14:30+02:00", "2026-03-03T12:30:00+00:00"),
        ("2026-03-03 12:30:07-01:00", "2026-03-03T13:30:07+00:00"),
        ("20260303T133000Z", "2026-03-03T13:30:00+00:00"),
    ],
)
def test_time_with_zone_needs_no_assumption(spec: str, time: str) -> None:
    assert parse_version_spec(spec, NOW) == Timestamp(at(time))


@pytest.mark.parametrize("spec", ["2026-03-03T13:30", "2026-03-03 13:30:00", "20260303T1330"])
def test_time_without_zone_is_assumed_to_be_utc(spec: str) -> None:
    expected = Timestamp(at("2026-03-03T13:30:00+00:00"), "UTC, as no time zone is given")
    assert parse_version_spec(spec, NOW) == expected


@pytest.mark.parametrize("spec", ["2026-03-03", "2026-W10-2"])
def test_date_is_assumed_to_be_start_of_day_in_utc(spec: str) -> None:
    assert parse_version_spec(spec, NOW) == Timestamp(
        at("2026-03-03T00:00:00+00:00"), "start of the day, UTC"
    )


def test_fraction_of_second_is_kept() -> None:
    parsed = parse_version_spec("2026-03-03T12:00:00.345Z", NOW)
    assert parsed == Timestamp(datetime(2026, 3, 3, 12, 0, 0, 345_000, tzinfo=UTC))


@pytest.mark.parametrize(
    ("spec", "delta"),
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
        ("1 month ago", relativedelta(months=1)),  # from 31 March: the last day of February
        ("13 months ago", relativedelta(months=13)),
        ("a year ago", relativedelta(years=1)),
    ],
)
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_age_is_subtracted_from_now(spec: str, delta: relativedelta, zone: timezone) -> None:
    parsed = parse_version_spec(spec, NOW.astimezone(zone))
    expected = NOW - delta
    assert parsed == Timestamp(expected, f"{expected:%Y-%m-%dT%H:%M:%SZ}")


@pytest.mark.parametrize(
    "spec", ["99999999 days ago", "99999999999999 weeks ago", "3000 years ago"]
)
def test_age_before_year_1_is_earliest_datetime(spec: str) -> None:
    parsed = parse_version_spec(spec, NOW)
    assert isinstance(parsed, Timestamp)
    assert parsed.at == datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize("spec", ["march", "v3", "release-2026.03", "Q1_final", "ago", "s"])
def test_word_is_a_tag_name(spec: str) -> None:
    assert parse_version_spec(spec, NOW) == TagName(spec)


@pytest.mark.parametrize("spec", ["latest", " Latest "])
def test_latest_is_none(spec: str) -> None:
    assert parse_version_spec(spec, NOW) is None


INVALID = [
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
    "spec", [*INVALID, "3 days", "yesterday", "now", "a/b", "../x", ".x", "é", "x" * 65, "٣"]
)
def test_invalid_spec_raises_usage_error_with_examples(spec: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_version_spec(spec, NOW)
    message = str(error.value)
    assert message.startswith(f"as of {spec.strip()!r}: give a version number, a time such as ")
    assert '"3 days ago", or a tag' in message
