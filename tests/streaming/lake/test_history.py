"""Tests for `streaming.lake.history`: `same_rows` is tested with Spark in `tests/batch_pca/refits/test_catalog.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from streaming.errors import LakeError
from streaming.lake.history import (
    known_sources,
    last_batch,
    last_source,
    recorded_sources,
    same_rows,
    sources_of_latest_commits,
)
from streaming.lake.layout import Lake
from streaming.sources.selection import Selection, write_selection
from support.lakes.commit_times import set_commit_time

NOON = 1_772_539_200  # 2026-03-03T12:00:00Z


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "My lake"))


def commit(table: str, hour: int, **metadata: Any) -> None:
    """Append a row with this commit metadata, at an hour after noon."""
    location = table.removeprefix("file:")
    properties = deltalake.CommitProperties({"userMetadata": json.dumps(metadata)})
    rows = pa.table({"path": [f"file:/photos/{hour}.jpg"]})
    deltalake.write_deltalake(location, rows, mode="append", commit_properties=properties)
    number = deltalake.DeltaTable(location).version()
    set_commit_time(location, number, NOON + hour * 3600)


def test_last_source_is_that_of_latest_commit_with_a_source(lake: Lake) -> None:
    assert last_source(lake) is None
    commit(lake.features, 0)
    assert last_source(lake) is None
    commit(lake.features, 1, source="file:/first")
    assert last_source(lake) == "file:/first"
    commit(lake.quarantine, 2, source="file:/second")
    commit(lake.features, 3, forgotten=1)
    assert last_source(lake) == "file:/second"


def test_sources_are_those_that_commits_name(lake: Lake) -> None:
    commit(lake.quarantine, 0, source="file:/b")
    commit(lake.quarantine, 1, source="")  # of a retry, if no source is known
    commit(lake.quarantine, 2, forgotten=1)
    commit(lake.quarantine, 3, source="s3a://bucket/a")
    assert recorded_sources(lake) == ["file:/b", "s3a://bucket/a"]
    assert sources_of_latest_commits({lake.quarantine: 2}) == {"file:/b"}


def test_known_sources_are_those_stored_and_those_of_commits_of_earlier_builds(lake: Lake) -> None:
    assert known_sources(lake) == []
    commit(lake.features, 0, source="file:/earlier")
    assert known_sources(lake) == ["file:/earlier"]
    write_selection(lake.sources, "file:/stored", Selection(include=["*.png"]))
    assert known_sources(lake) == ["file:/earlier", "file:/stored"]
    commit(lake.features, 1, source="file:/stored")
    assert known_sources(lake) == ["file:/stored"]


def test_known_sources_are_locations(lake: Lake) -> None:
    for source in (
        "",
        "photos",
        "/photos",
        "file:/a/../b",
        "file:/a/",
        "gs://b",
        "s3a://k:s@b",
        "s3a://b",
    ):
        write_selection(lake.sources, source, Selection())
    assert known_sources(lake) == ["s3a://b"]
    Path(lake.sources.removeprefix("file:")).write_text('{"file:/a": 1}')
    with pytest.raises(LakeError, match=r"sources\.json: broken"):
        known_sources(lake)


def test_last_batch_begins_at_given_versions(lake: Lake) -> None:
    for hour in range(3):
        commit(lake.features, hour, source="file:/photos", images=hour)
    batch = last_batch({lake.features: 1})
    assert batch
    assert (batch.number, batch.metadata["images"]) == (1, 1)
    assert last_batch({}) is None


def test_same_rows_of_version_whose_changes_are_unknown_is_false(lake: Lake) -> None:
    for hour in range(2):
        commit(lake.features, hour)  # the change feed is not enabled
    assert same_rows(lake, 1, 1)
    assert not same_rows(lake, 0, 1)


def test_restored_version_has_the_same_rows(lake: Lake) -> None:
    for hour in range(3):
        commit(lake.features, hour, pomona="0.1.0")
    deltalake.DeltaTable(lake.features.removeprefix("file:")).restore(1)
    assert same_rows(lake, 1, 3)
    assert not same_rows(lake, 2, 3)
    commit(lake.features, 4, pomona="0.1.0")
    assert not same_rows(lake, 1, 4)
