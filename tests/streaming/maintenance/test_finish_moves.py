"""Tests for `streaming.maintenance.finish_moves`: an image that a killed run left in both tables is kept in one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.lake.layout import Lake
from streaming.maintenance.finish_moves import finish_interrupted_moves
from streaming.storage.interface import StoredFile
from support.lakes.small_lakes import rows, versions
from support.lakes.table_rows import add_features, add_quarantine

pytestmark = pytest.mark.spark

EARLY, LATE = datetime(2026, 3, 3, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)


def paths(location: str) -> list[str]:
    return [row["path"] for row in rows(location)]


@pytest.mark.long
def test_image_in_both_tables_keeps_latest_row(
    spark: SparkSession, new_lake: Callable[[], Path]
) -> None:
    lake = Lake.at(str(new_lake()))
    names = ("became bad", "became good", "both at once", "good")
    files = {name: StoredFile(f"file:/x/{name}.jpg", 5, 0) for name in names}
    for name, at in zip(names, (EARLY, LATE, EARLY, EARLY), strict=True):
        add_features(spark, lake, [files[name]], at)
    for name, at in zip(names[:3], (LATE, EARLY, EARLY), strict=True):
        add_quarantine(spark, lake, [files[name]], at)
    assert finish_interrupted_moves(spark, lake) == 3
    assert paths(lake.quarantine) == [files["became bad"].path]
    assert paths(lake.features) == [files[name].path for name in names[1:]]

    before = versions(lake)
    assert finish_interrupted_moves(spark, lake) == 0
    assert versions(lake) == before
