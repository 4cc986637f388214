"""Tests for clock skew: images with past, future and equal modification times are ingested; changes are detected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from support.lakes.small_lakes import GARBAGE, ONCE, below, jpeg, put, rows

pytestmark = pytest.mark.spark


def new_year(year: int) -> float:
    return datetime(year, 1, 1, tzinfo=UTC).timestamp()


def test_images_with_any_modification_time_are_ingested(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    future = [f"Future/{year}.jpg" for year in (2099, 2150)]
    for number, name in enumerate(future):
        put(source / name, jpeg(number), written=new_year(int(name[7:11])))
    put(source / "Future" / "bad.jpg", GARBAGE, written=new_year(2120))
    assert ingest(str(source), lake.root, ONCE).outcomes == {"features": 2, "quarantine": 1}

    # Spark's file source has now seen a file of 2150: by default it would silently skip all older ones.
    past = [f"Past/{year}.jpg" for year in (1970, 1980, 2001, 2020)]
    for number, name in enumerate(past):
        put(source / name, jpeg(number), written=new_year(int(name[5:9])))
    before_1970 = "Past/1955.jpg"
    put(source / before_1970, jpeg(9), written=new_year(1955) + 0.25)
    equal = [f"Equal/{number}.jpg" for number in range(6)]
    for number, name in enumerate(equal):
        put(source / name, jpeg(number), written=new_year(2150))
    summary = ingest(str(source), lake.root, ONCE)
    assert summary.outcomes == {"features": 11}
    assert summary.replaced == summary.waiting == 0
    assert below(source, lake.features) == sorted([*future, *past, before_1970, *equal])
    assert below(source, lake.quarantine) == ["Future/bad.jpg"]
    times = {row["path"].rsplit("/", 1)[1]: row["modification_time"] for row in rows(lake.features)}
    assert times["1955.jpg"] == datetime(1955, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    assert times["2150.jpg"] == datetime(2150, 1, 1, tzinfo=UTC)
    assert ingest(str(source), lake.root, ONCE).outcomes == {}


@pytest.mark.long
def test_replacement_with_older_modification_time_is_detected(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    put(source / "Fig" / "a.jpg", jpeg(1), written=new_year(2120))
    put(source / "Fig" / "b.jpg", jpeg(1), written=new_year(2120))
    ingest(str(source), lake.root, ONCE)
    put(source / "Fig" / "a.jpg", jpeg(2), written=new_year(1999))
    summary = ingest(str(source), lake.root, ONCE)
    assert (summary.outcomes, summary.replaced) == ({"features": 1}, 1)
    assert below(source, lake.features) == ["Fig/a.jpg", "Fig/b.jpg"]
