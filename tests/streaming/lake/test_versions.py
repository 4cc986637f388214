"""Which version of the features is found, against Delta's own time travel; and what is said where there is none."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from streaming.errors import SnapshotError, UsageError
from streaming.lake.layout import Lake
from streaming.lake.tags import Tag, set_tag
from streaming.lake.versions import ResolvedVersion, resolve_version, superseded_at, version_at
from support.feature_lakes import commit, images, new_lake

HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 3, 12, 0, 0, 345_000, tzinfo=UTC)
NOW = datetime(2026, 3, 5, tzinfo=UTC)


def write(lake: Lake, *rows: str, mode: Any = "append") -> None:
    deltalake.write_deltalake(
        lake.features.removeprefix("file:"), pa.table({"path": rows}), mode=mode
    )


def date(lake: Lake, number: int, moment: datetime) -> None:
    """Let a commit have been written at a moment."""
    file = Path(lake.features.removeprefix("file:"), "_delta_log", f"{number:020}.json")
    os.utime(file, (moment.timestamp(),) * 2)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Versions 0 to 4, an hour apart from noon; from version 3 on, the rows of the first three are gone."""
    lake = Lake.at(str(tmp_path / "My lake"))
    for number in range(5):
        write(lake, f"{number}.jpg", mode="overwrite" if number == 3 else "append")
        date(lake, number, NOON + number * HOUR)
    return lake


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (None, 4),
        ("latest", 4),
        ("2", 2),
        ("0003", 3),
        ("2026-03-03T13:30Z", 1),
        ("2026-03-03T13:30", 1),
        ("2026-03-03T14:30+02:00", 0),
        ("2026-03-03T12:00:00.345Z", 0),
        ("2026-03-03T13:00:00.344Z", 0),
        ("2026-03-04", 4),
        ("35 hours ago", 0),
        ("34 hours ago", 1),
        ("2120 minutes ago", 0),
    ],
)
def test_a_version_is_found_by_its_number_or_as_the_last_before_a_time(
    lake: Lake, words: str | None, number: int
) -> None:
    found = resolve_version(lake, words, NOW)
    assert (found.number, found.committed) == (number, NOON + number * HOUR)


@pytest.mark.parametrize("number", range(5))
def test_the_time_of_a_version_as_it_is_shown_finds_that_version(lake: Lake, number: int) -> None:
    shown = f"{resolve_version(lake, str(number), NOW).committed:%Y-%m-%dT%H:%M:%SZ}"
    assert resolve_version(lake, shown, NOW).number == number


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("1", "version 1 of 2026-03-03T13:00:00Z"),
        ("2026-03-03T13:30+00:00", "2026-03-03T13:30+00:00 is version 1 of 2026-03-03T13:00:00Z"),
        (
            "2026-03-03T13:30",
            "2026-03-03T13:30 (in UTC, since it names no zone) is version 1 of 2026-03-03T13:00:00Z",
        ),
        (
            "2026-03-04",
            "2026-03-04 (its first moment, in UTC) is version 4 of 2026-03-03T16:00:00Z",
        ),
        ("35h ago", "35h ago (2026-03-03T13:00:00Z) is version 0 of 2026-03-03T12:00:00Z"),
        ("march", "tag march is version 2 of 2026-03-03T14:00:00Z"),
    ],
)
def test_what_was_meant_and_assumed_is_said(lake: Lake, words: str, said: str) -> None:
    set_tag(lake, Tag("march", 2, NOON + 2 * HOUR, NOW))
    assert resolve_version(lake, words, NOW).description == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("5", "no version 5 of the features"),
        ("2026-03-03T11:59:59Z", "2026-03-03T11:59:59Z is before the first version"),
        ("2026-03-03", r"2026-03-03 \(its first moment, in UTC\) is before the first version"),
        ("3 years ago", r"3 years ago \(2023-.*\) is before the first version"),
        ("2026-03-05T00:00:01Z", "2026-03-05T00:00:01Z is in the future"),
        ("2026-03-05T02:30+03:00", ""),
        ("2026-03-05T03:30", r"2026-03-05T03:30 \(in UTC, .*\) is in the future"),
    ],
)
def test_a_version_that_is_not_there_is_told_with_the_range_that_is(
    lake: Lake, words: str, said: str
) -> None:
    if not said:  # on a clock three hours ahead, today is still yesterday in UTC
        assert resolve_version(lake, words, NOW).number == 4
        return
    between = r"there are 0 \(2026-03-03T12:00:00Z\) to 4 \(2026-03-03T16:00:00Z\)$"
    with pytest.raises(SnapshotError, match=f"^{said}: {between}"):
        resolve_version(lake, words, NOW)


def test_an_unknown_tag_is_told_with_those_that_there_are(lake: Lake) -> None:
    with pytest.raises(UsageError, match=r"^as of 'march': no such tag \(there are: none yet\)"):
        resolve_version(lake, "march", NOW)
    set_tag(lake, Tag("april", 2, NOON, NOW))
    set_tag(lake, Tag("may", 1, NOON, NOW))
    with pytest.raises(UsageError, match=r"\(there are: may, april\); give a version number"):
        resolve_version(lake, "march", NOW)


def test_what_is_vacuumed_away_is_told_with_the_range_that_is_left(lake: Lake) -> None:
    table = deltalake.DeltaTable(lake.features.removeprefix("file:"))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    last = table.version()
    for words in ("2", "2026-03-03T14:30Z"):
        told = f"^version 2 was removed by VACUUM: there are 3 .2026-03-03T15:00:00Z. to {last} "
        with pytest.raises(SnapshotError, match=told):
            resolve_version(lake, words, NOW if last == 4 else None)
    for number in range(3, last + 1):
        opened = deltalake.DeltaTable(table.table_uri, version=number).to_pyarrow_table()
        assert (
            opened.num_rows == resolve_version(lake, str(number)).number - 2 if number < 5 else True
        )


def test_another_table_is_found_as_it_was_then_or_told_to_be_vacuumed_away(
    lake: Lake, tmp_path: Path
) -> None:
    other = Lake.at(str(tmp_path / "other"))
    for number in range(3):
        write(other, f"{number}.jpg", mode="overwrite")
        date(other, number, NOON + number * HOUR + HOUR / 2)
    found = [
        version_at(other.features, resolve_version(lake, str(number), NOW)) for number in range(5)
    ]
    assert found == [None, 0, 1, 2, 2]
    assert version_at(other.features, resolve_version(lake, "2026-03-03T14:29Z", NOW)) == 1
    assert version_at(other.features, resolve_version(lake, None, NOW)) == 2
    assert version_at(other.refits, resolve_version(lake, None, NOW)) is None
    table = deltalake.DeltaTable(other.features.removeprefix("file:"))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    told = r"^features as it was then \(its version 0\) was removed by VACUUM: there are 2 \("
    with pytest.raises(SnapshotError, match=told):
        version_at(other.features, resolve_version(lake, "1", NOW))


def test_a_version_reigns_until_the_next_one_comes_or_the_moment_that_was_meant(
    lake: Lake,
) -> None:
    assert superseded_at(lake, resolve_version(lake, "1", NOW)) == NOON + 2 * HOUR
    meant = superseded_at(lake, resolve_version(lake, "2026-03-03T13:30Z", NOW))
    assert NOON + 1.5 * HOUR - timedelta(seconds=1) < meant < NOON + 1.5 * HOUR + HOUR / 60
    for words in ("4", "latest", None):
        assert superseded_at(lake, resolve_version(lake, words, NOW)) > NOW + timedelta(
            days=365_000
        )


def test_what_was_found_is_not_looked_for_again(lake: Lake) -> None:
    found = resolve_version(lake, "1", NOW)
    assert resolve_version(lake, found) is found


def test_files_that_somebody_took_are_no_work_of_vacuum(lake: Lake) -> None:
    for file in Path(lake.features.removeprefix("file:")).glob("*.parquet"):
        file.unlink()
    with pytest.raises(SnapshotError, match=r"^version 3 lacks data files that were not removed"):
        resolve_version(lake, "3", NOW)


def test_where_the_beginning_of_the_log_is_gone_the_range_begins_where_a_table_can_be_made(
    lake: Lake,
) -> None:
    deltalake.DeltaTable(lake.features.removeprefix("file:"), version=2).create_checkpoint()
    log = Path(lake.features.removeprefix("file:"), "_delta_log")
    (log / f"{0:020}.json").unlink()
    with pytest.raises(SnapshotError, match=r"^no version 1 of the features: there are 2 "):
        resolve_version(lake, "1", NOW)
    assert resolve_version(lake, "2", NOW).number == 2
    assert deltalake.DeltaTable(lake.features.removeprefix("file:"), version=2).version() == 2


def test_times_that_run_backwards_are_put_in_order(lake: Lake) -> None:
    date(lake, 3, NOON)  # a clock that was behind
    found = [resolve_version(lake, str(number), NOW).committed for number in range(5)]
    assert found == sorted(found)
    assert found[3] == NOON + 2 * HOUR + timedelta(milliseconds=1)


@pytest.mark.spark
def test_times_find_what_deltas_own_time_travel_finds(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "lake", 16)
    for seed in range(3):
        commit(spark, lake, images(2 + seed, seed, width=16))
    start = datetime.now(UTC).replace(microsecond=0) - 5 * HOUR
    for number in range(5):
        date(lake, number, start + number * HOUR + timedelta(milliseconds=number))
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()

    def by_delta(moment: datetime) -> int:
        plain = f"{moment:%Y-%m-%d %H:%M:%S.%f}+00:00"
        reader = spark.read.format("delta").option("timestampAsOf", plain)
        return int(reader.load(lake.features).count())

    def by_number(found: ResolvedVersion) -> int:
        reader = spark.read.format("delta").option("versionAsOf", found.number)
        return int(reader.load(lake.features).count())

    for seconds in (
        7200.002,
        7201,
        10800.002,
        10800.003,
        12345,
        14400.003,
    ):  # after the last, Delta refuses
        moment = start + timedelta(seconds=seconds)
        found = resolve_version(lake, moment.isoformat(timespec="microseconds"))
        assert by_number(found) == by_delta(moment), seconds
