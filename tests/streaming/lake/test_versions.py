"""Tests for `streaming.lake.versions`, compared with Delta's own time travel."""

from __future__ import annotations

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
from support.lakes.commit_times import copy_with_new_times, set_commit_time
from support.lakes.feature_lakes import commit, images, new_lake

HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 3, 12, 0, 0, 345_000, tzinfo=UTC)
NOW = datetime(2026, 3, 5, tzinfo=UTC)


def write(lake: Lake, *rows: str, mode: Any = "append") -> None:
    deltalake.write_deltalake(
        lake.features.removeprefix("file:"), pa.table({"path": rows}), mode=mode
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with versions 0 to 4, hourly from noon; version 3 removes the rows of versions 0 to 2."""
    lake = Lake.at(str(tmp_path / "My lake"))
    for number in range(5):
        write(lake, f"{number}.jpg", mode="overwrite" if number == 3 else "append")
        set_commit_time(lake.features, number, (NOON + number * HOUR).timestamp())
    return lake


@pytest.mark.parametrize(
    ("spec", "number"),
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
def test_version_is_resolved_by_number_or_as_latest_before_time(
    lake: Lake, spec: str | None, number: int
) -> None:
    version = resolve_version(lake, spec, NOW)
    assert (version.number, version.committed) == (number, NOON + number * HOUR)


def test_copy_with_other_modification_times_resolves_to_same_versions(
    lake: Lake, tmp_path: Path
) -> None:
    original = Path(lake.root.removeprefix("file:"))
    copy = Lake.at(str(copy_with_new_times(original, tmp_path / "copy")))
    for minutes in range(0, 300, 20):
        for spec in ((NOON + timedelta(minutes=minutes)).isoformat(), f"{minutes} minutes ago"):
            now = NOON + 5 * HOUR
            assert resolve_version(copy, spec, now) == resolve_version(lake, spec, now)
    assert resolve_version(copy, None) == resolve_version(lake, None)
    at_two = resolve_version(lake, "2026-03-03T14:30Z", NOW)
    assert version_at(copy.features, at_two) == version_at(lake.features, at_two) == 2


@pytest.mark.parametrize("number", range(5))
def test_displayed_time_of_version_resolves_to_that_version(lake: Lake, number: int) -> None:
    shown = f"{resolve_version(lake, str(number), NOW).committed:%Y-%m-%dT%H:%M:%SZ}"
    assert resolve_version(lake, shown, NOW).number == number


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("1", "version 1 of 2026-03-03T13:00:00Z"),
        ("2026-03-03T13:30+00:00", "2026-03-03T13:30+00:00 is version 1 of 2026-03-03T13:00:00Z"),
        (
            "2026-03-03T13:30",
            "2026-03-03T13:30 (UTC, as no time zone is given) is version 1 of 2026-03-03T13:00:00Z",
        ),
        (
            "2026-03-04",
            "2026-03-04 (start of the day, UTC) is version 4 of 2026-03-03T16:00:00Z",
        ),
        ("35h ago", "35h ago (2026-03-03T13:00:00Z) is version 0 of 2026-03-03T12:00:00Z"),
        ("march", "tag march is version 2 of 2026-03-03T14:00:00Z"),
    ],
)
def test_description_names_version_and_assumption(lake: Lake, spec: str, message: str) -> None:
    set_tag(lake, Tag("march", 2, NOON + 2 * HOUR, NOW))
    assert resolve_version(lake, spec, NOW).description == message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("5", "no version 5 of the features"),
        ("2026-03-03T11:59:59Z", "2026-03-03T11:59:59Z is before the first version"),
        ("2026-03-03", r"2026-03-03 \(start of the day, UTC\) is before the first version"),
        ("3000 years ago", r"3000 years ago \(1-01-01T.*\) is before the first version"),
        ("0001-01-01T00:00:00.5", r"0001-01-01T00:00:00.5 \(UTC.*\) is before the first version"),
        ("3 years ago", r"3 years ago \(2023-.*\) is before the first version"),
        ("2026-03-05T00:00:01Z", "2026-03-05T00:00:01Z is in the future"),
        ("2026-03-05T02:30+03:00", ""),
        ("2026-03-05T03:30", r"2026-03-05T03:30 \(UTC, .*\) is in the future"),
    ],
)
def test_missing_version_raises_error_with_available_range(
    lake: Lake, spec: str, message: str
) -> None:
    if not message:  # the date is tomorrow in this time zone, today in UTC
        assert resolve_version(lake, spec, NOW).number == 4
        return
    available = r"available are 0 \(2026-03-03T12:00:00Z\) to 4 \(2026-03-03T16:00:00Z\)$"
    with pytest.raises(SnapshotError, match=f"^{message}: {available}"):
        resolve_version(lake, spec, NOW)


def test_unknown_tag_raises_error_with_existing_tags(lake: Lake) -> None:
    with pytest.raises(UsageError, match=r"^as of 'march': no such tag \(existing tags: none\)"):
        resolve_version(lake, "march", NOW)
    set_tag(lake, Tag("april", 2, NOON, NOW))
    set_tag(lake, Tag("may", 1, NOON, NOW))
    with pytest.raises(UsageError, match=r"\(existing tags: may, april\); give a version number"):
        resolve_version(lake, "march", NOW)


def test_vacuumed_version_raises_error_with_available_range(lake: Lake) -> None:
    table = deltalake.DeltaTable(lake.features.removeprefix("file:"))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    last = table.version()
    for spec in ("2", "2026-03-03T14:30Z"):
        message = (
            f"^version 2 was removed by VACUUM: available are 3 .2026-03-03T15:00:00Z. to {last} "
        )
        with pytest.raises(SnapshotError, match=message):
            resolve_version(lake, spec, NOW if last == 4 else None)
    for number in range(3, last + 1):
        rows = deltalake.DeltaTable(table.table_uri, version=number).to_pyarrow_table()
        assert number >= 5 or rows.num_rows == resolve_version(lake, str(number)).number - 2


def test_version_at_returns_version_of_other_table_or_raises_if_vacuumed(
    lake: Lake, tmp_path: Path
) -> None:
    other = Lake.at(str(tmp_path / "other"))
    for number in range(3):
        write(other, f"{number}.jpg", mode="overwrite")
        set_commit_time(other.features, number, (NOON + (number + 0.5) * HOUR).timestamp())
    versions = [
        version_at(other.features, resolve_version(lake, str(number), NOW)) for number in range(5)
    ]
    assert versions == [None, 0, 1, 2, 2]
    assert version_at(other.features, resolve_version(lake, "2026-03-03T14:29Z", NOW)) == 1
    assert version_at(other.features, resolve_version(lake, None, NOW)) == 2
    assert version_at(other.refits, resolve_version(lake, None, NOW)) is None
    table = deltalake.DeltaTable(other.features.removeprefix("file:"))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    message = (
        r"^version 0 of features, the one at that time, was removed by VACUUM: available are 2 \("
    )
    with pytest.raises(SnapshotError, match=message):
        version_at(other.features, resolve_version(lake, "1", NOW))


def test_superseded_at_is_next_commit_or_requested_time(
    lake: Lake,
) -> None:
    assert superseded_at(lake, resolve_version(lake, "1", NOW)) == NOON + 2 * HOUR
    superseded = superseded_at(lake, resolve_version(lake, "2026-03-03T13:30Z", NOW))
    assert NOON + 1.5 * HOUR - timedelta(seconds=1) < superseded < NOON + 1.5 * HOUR + HOUR / 60
    for spec in ("4", "latest", None):
        assert superseded_at(lake, resolve_version(lake, spec, NOW)) > NOW + timedelta(days=365_000)


def test_resolved_version_is_returned_unchanged(lake: Lake) -> None:
    version = resolve_version(lake, "1", NOW)
    assert resolve_version(lake, version) is version


def test_files_deleted_without_vacuum_raise_other_error(lake: Lake) -> None:
    for file in Path(lake.features.removeprefix("file:")).glob("*.parquet"):
        file.unlink()
    with pytest.raises(SnapshotError, match=r"^version 3 lacks data files that were not removed"):
        resolve_version(lake, "3", NOW)


def test_available_range_of_truncated_log_begins_at_checkpoint(
    lake: Lake,
) -> None:
    deltalake.DeltaTable(lake.features.removeprefix("file:"), version=2).create_checkpoint()
    log = Path(lake.features.removeprefix("file:"), "_delta_log")
    (log / f"{0:020}.json").unlink()
    with pytest.raises(SnapshotError, match=r"^no version 1 of the features: available are 2 "):
        resolve_version(lake, "1", NOW)
    assert resolve_version(lake, "2", NOW).number == 2
    assert deltalake.DeltaTable(lake.features.removeprefix("file:"), version=2).version() == 2


def test_decreasing_commit_times_are_made_increasing(lake: Lake) -> None:
    set_commit_time(lake.features, 3, NOON.timestamp())  # the clock of the writer was behind
    times = [resolve_version(lake, str(number), NOW).committed for number in range(5)]
    assert times == sorted(times)
    assert times[3] == NOON + 2 * HOUR + timedelta(milliseconds=1)


@pytest.mark.long
@pytest.mark.spark
def test_time_resolves_to_same_version_as_in_delta(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "lake", 16)
    for seed in range(3):
        commit(spark, lake, images(2 + seed, seed, width=16))
    start = datetime.now(UTC).replace(microsecond=0) - 5 * HOUR
    for number in range(5):
        time = start + number * HOUR + timedelta(milliseconds=number)
        set_commit_time(lake.features, number, time.timestamp())
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()

    def count_by_time(time: datetime) -> int:
        text = f"{time:%Y-%m-%d %H:%M:%S.%f}+00:00"
        reader = spark.read.format("delta").option("timestampAsOf", text)
        return int(reader.load(lake.features).count())

    def count_by_number(version: ResolvedVersion) -> int:
        reader = spark.read.format("delta").option("versionAsOf", version.number)
        return int(reader.load(lake.features).count())

    # Delta rejects times after the last commit.
    for seconds in (7200.002, 7201, 10800.002, 10800.003, 12345, 14400.003):
        time = start + timedelta(seconds=seconds)
        version = resolve_version(lake, time.isoformat(timespec="microseconds"))
        assert count_by_number(version) == count_by_time(time), seconds
