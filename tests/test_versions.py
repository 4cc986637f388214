"""Which versions of the features there are, and which of them a person means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from features_rows import commit, delete, images, new_lake

from batch_pca.versions import Version, find_version, versions
from streaming.errors import SnapshotError, UsageError
from streaming.lake import Lake

HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 3, 12, 0, 0, 345_000, tzinfo=UTC)
# The log of the first two versions is gone, as after ten years.
KNOWN = [Version(2 + i, NOON + i * HOUR, "WRITE", 5, 0, 0, {}) for i in range(3)]


@pytest.mark.parametrize(
    ("as_of", "number"),
    [
        (None, 4),
        ("2", 2),
        ("0003", 3),
        ("2026-03-03T13:30Z", 3),
        ("2026-03-03T13:30", 3),  # UTC
        ("2026-03-03 13:30:00", 3),
        ("2026-03-03T13:30+00:00", 3),
        ("2026-03-03T14:30+02:00", 2),
        ("2026-03-03T12:30-01:00", 3),
        ("2026-03-03T12:00:00.345Z", 2),
        ("2026-03-03T13:00:00.344Z", 2),
        ("2026-03-04", 4),
    ],
)
def test_a_version_is_found_by_its_number_or_as_the_last_before_a_time(
    as_of: str | None, number: int
) -> None:
    assert find_version(KNOWN, as_of).number == number


@pytest.mark.parametrize(("number", "shown"), [(2, "12:00:00"), (3, "13:00:00"), (4, "14:00:00")])
def test_the_time_of_a_version_as_it_is_shown_finds_that_version(number: int, shown: str) -> None:
    assert find_version(KNOWN, f"2026-03-03T{shown}Z").number == number


@pytest.mark.parametrize(
    ("as_of", "said"),
    [
        ("1", "no version 1 of the features"),
        ("5", "no version 5 of the features"),
        ("2026-03-03T11:59:59Z", "2026-03-03T11:59:59Z .* is before the first version"),
        ("2026-03-03", "2026-03-03 .* is before the first version"),
        ("2999-01-01", "2999-01-01 is in the future"),
    ],
)
def test_a_version_that_is_not_there_is_told_with_those_that_are(as_of: str, said: str) -> None:
    between = r"there are 2 \(2026-03-03T12:00:00Z\) to 4 \(2026-03-03T14:00:00Z\)$"
    with pytest.raises(SnapshotError, match=f"^{said}.*: {between}"):
        find_version(KNOWN, as_of)


def test_a_time_in_another_zone_is_compared_as_the_moment_it_is() -> None:
    soon = datetime.now(UTC) + HOUR
    with pytest.raises(SnapshotError, match="in the future"):
        find_version(KNOWN, f"{soon:%Y-%m-%dT%H:%M}")
    ahead = soon + HOUR  # two hours from now on a clock that is three ahead: an hour ago
    assert find_version(KNOWN, f"{ahead:%Y-%m-%dT%H:%M}+03:00").number == 4


@pytest.mark.parametrize("as_of", ["yesterday", "-1", "1.5", "", "2026-13-01", "12:00", "v3"])
def test_what_is_neither_number_nor_time_is_refused(as_of: str) -> None:
    with pytest.raises(UsageError, match=f"^--as-of {as_of}: give a version number, or a time"):
        find_version(KNOWN, as_of)


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Versions: 0 table, 1 a property, 2 append, 3 merge, 4 delete, 5 rows of another model, 6 all deleted but one."""
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("snapshot"), "My lake"))
    few, more = images(8, seed=1), images(12, seed=1)
    commit(spark, lake, few)
    commit(spark, lake, more, known=True)  # 8 known, 4 new
    delete(spark, lake, few.paths[:3])
    commit(spark, lake, images(5, seed=2, model_id="another"))
    delete(spark, lake, more.paths + images(4, seed=2).paths)
    return lake


@pytest.mark.spark
def test_versions_tell_the_rows_that_came_went_and_were_replaced(spark: Any, lake: Lake) -> None:
    known = versions(spark, lake.features)
    assert [version.number for version in known] == list(range(7))
    changed = [(v.operation, v.added, v.removed, v.replaced) for v in known[2:]]
    assert changed == [
        ("WRITE", 8, 0, 0),
        ("MERGE", 4, 0, 8),
        ("DELETE", 0, 3, 0),
        ("WRITE", 5, 0, 0),
        ("DELETE", 0, 13, 0),
    ]
    assert [v.told.get("source") for v in known] == [None, None] + ["file:/photos"] * 5


@pytest.mark.spark
def test_the_last_versions_are_those_of_all(spark: Any, lake: Lake) -> None:
    assert versions(spark, lake.features, 3) == versions(spark, lake.features)[-3:]


@pytest.mark.spark
def test_versions_tell_in_utc_when_their_file_of_the_log_was_written(
    spark: Any, lake: Lake
) -> None:
    log = Path(lake.features.removeprefix("file:"), "_delta_log")
    written = {int(file.stem): file.stat().st_mtime_ns // 10**6 for file in log.glob("*.json")}
    known = versions(spark, lake.features)
    assert {v.number: round(v.committed.timestamp() * 1000) for v in known} == written
    assert {v.committed.utcoffset() for v in known} == {timedelta(0)}
