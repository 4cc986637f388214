"""Promises of `streaming.sweep`: it finds what the stream passes over, and ends what was cut in two."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lake_rows import add_features, add_quarantine
from pyspark.sql import SparkSession
from small_lakes import put, put_all, rows, versions

from streaming.lake import Lake
from streaming.source import Source
from streaming.storage import StoredFile
from streaming.sweep import finish_moves, missing_or_changed

pytestmark = pytest.mark.spark

EARLY, LATE = datetime(2026, 3, 3, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)


@pytest.fixture
def lake(new_lake: Callable[[], Path]) -> Lake:
    return Lake.at(str(new_lake()))


def paths(location: str) -> list[str]:
    return [row["path"] for row in rows(location)]


def test_an_image_in_both_tables_keeps_the_row_that_was_made_last(
    spark: SparkSession, lake: Lake
) -> None:
    names = ("became bad", "became good", "both at once", "good")
    files = {name: StoredFile(f"file:/x/{name}.jpg", 5, 0) for name in names}
    for name, at in zip(names, (EARLY, LATE, EARLY, EARLY), strict=True):
        add_features(spark, lake, [files[name]], at)
    for name, at in zip(names[:3], (LATE, EARLY, EARLY), strict=True):
        add_quarantine(spark, lake, [files[name]], at)
    assert finish_moves(spark, lake) == 3
    assert paths(lake.quarantine) == [files["became bad"].path]
    assert paths(lake.features) == [files[name].path for name in names[1:]]

    before = versions(lake)
    assert finish_moves(spark, lake) == 0
    assert versions(lake) == before


def test_what_is_missing_or_differs_in_length_or_time_is_found_and_nothing_else(
    spark: SparkSession, lake: Lake, tmp_path: Path
) -> None:
    contents = {f"Fig 50% +/{name}.jpg": b"12345" for name in ("good", "bad", "longer", "later")}
    good, bad, longer, later = put_all(tmp_path, contents)
    add_features(spark, lake, [good, longer], EARLY)
    add_quarantine(spark, lake, [bad, later], EARLY)
    new = put(tmp_path / "Fig 50% +" / "new.jpg", b"")
    put(tmp_path / "Fig 50% +" / ".hidden.jpg", b"12345")
    at = longer.modified_ms / 1000
    longer = put(tmp_path / "Fig 50% +" / "longer.jpg", b"123456", written=at)
    later = put(tmp_path / "Fig 50% +" / "later.jpg", b"12345", written=at + 1)
    found = missing_or_changed(spark, Source.at(str(tmp_path)), lake)
    assert sorted(found, key=lambda file: file.path) == [later, longer, new]


def test_nothing_is_found_where_there_is_nothing(
    spark: SparkSession, lake: Lake, tmp_path: Path
) -> None:
    assert missing_or_changed(spark, Source.at(str(tmp_path)), lake) == []
