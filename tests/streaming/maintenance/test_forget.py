"""Tests for `streaming.maintenance.forget`: rows are deleted, and remain in earlier versions of the tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from pyspark.sql import SparkSession

from streaming.delta.tables import read_table
from streaming.delta.writer import Writer
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.maintenance import forget as module
from streaming.maintenance.forget import delete_rows, forget
from streaming.storage.interface import StoredFile
from support.lakes.operation_context import ingest_all, open_context
from support.lakes.small_lakes import GARBAGE, below, jpeg, photos, put, put_all, version, versions

pytestmark = pytest.mark.spark

NEW_LAKE = Callable[[], Path]


def vector(spark: SparkSession, lake: Lake, name: str, at: int) -> list[float]:
    """Return the features of an image in a version of the table."""
    table = read_table(spark, lake.features, at)
    (row,) = table.where(table.path.endswith(name)).select("features").collect()
    return list(row.features)


@pytest.mark.long
def test_forgotten_image_is_ingested_again_if_it_exists(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    put_all(tmp_path, photos("It's a fig", range(3)) | {"It's a fig/bad.jpg": GARBAGE})
    context = open_context(spark, new_lake(), str(tmp_path))
    ingest_all(context)
    lake, before = context.lake, version(context.lake.features)
    existing, deleted, bad, unknown = (
        f"file:{tmp_path}/It's a fig/{name}.jpg" for name in ("0", "1", "bad", "never")
    )
    os.unlink(deleted.removeprefix("file:"))
    result = forget(context, {"paths": [existing, deleted, bad, unknown, existing]})
    assert result == {
        "features": [existing, deleted],
        "quarantine": [bad],
        "unknown": [unknown],
        "existing": [existing, bad],
    }
    assert below(tmp_path, lake.features) == ["It's a fig/2.jpg"]
    assert below(tmp_path, lake.quarantine) == []
    assert read_table(spark, lake.features, before).count() == 3

    assert context.source
    new = context.batch.image_index.new_or_changed(context.source.images())
    assert sorted(file.path for file in new) == [existing, bad]
    unchanged = versions(lake)
    assert forget(context, {"paths": [unknown]})["features"] == []
    assert versions(lake) == unchanged
    ingest_all(context)
    assert below(tmp_path, lake.features) == ["It's a fig/0.jpg", "It's a fig/2.jpg"]
    assert below(tmp_path, lake.quarantine) == ["It's a fig/bad.jpg"]


@pytest.mark.long
def test_features_of_replaced_or_deleted_image_remain_in_earlier_versions(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    put(tmp_path / "Fig" / "a.jpg", jpeg(1))
    context = open_context(spark, new_lake(), str(tmp_path))
    ingest_all(context)
    lake, first = context.lake, version(context.lake.features)
    old = vector(spark, lake, "a.jpg", first)
    put(tmp_path / "Fig" / "a.jpg", jpeg(2), written=1e9)
    ingest_all(context)
    new = vector(spark, lake, "a.jpg", version(lake.features))
    assert new != old
    assert vector(spark, lake, "a.jpg", first) == old
    assert below(tmp_path, lake.features) == ["Fig/a.jpg"]

    many = [f"file:{tmp_path}/Fig/{number}.jpg" for number in range(5000)]
    writer, before = Writer(spark, lake.features, {"removed": 5001}), version(lake.features)
    writer.delete(many)  # too many for one condition
    assert below(tmp_path, lake.features) == ["Fig/a.jpg"]
    writer.delete([*many, f"file:{tmp_path}/Fig/a.jpg"])
    assert below(tmp_path, lake.features) == []
    assert version(lake.features) <= before + 2  # at most one commit per delete
    assert vector(spark, lake, "a.jpg", first) == old


def test_images_are_looked_up_if_only_one_table_lost_their_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = StoredFile("file:/x/a.jpg", 5, 7)
    index = ImageIndex(*(np.empty(0, np.uint64) for _ in range(2)))
    index.add([file])
    monkeypatch.setattr(module, "Writer", Mock(side_effect=[Mock(), OSError("disk full")]))
    with pytest.raises(OSError, match="disk full"):
        delete_rows(Mock(), Lake("file:/lake"), index, [file.path], "removed")
    assert list(index.backlog([file])) == [(file, True)]
    assert index.filter_known([file]) == [file]
