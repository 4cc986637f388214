"""A tagged version survives a VACUUM that keeps as long as the tags ask; of delta-rs, on a log dated back."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from pomona.travelling import retention_note, tag
from streaming.as_of import resolve
from streaming.errors import SnapshotError
from streaming.lake import Lake
from streaming.lake_format import write_format
from streaming.tags import least_retention, promised_retention, read_tags

AGES = (50, 40, 30, 10, 0)  # days


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Five versions, each of which removes the rows of the one before."""
    lake = Lake.at(str(tmp_path / "lake"))
    write_format(lake.root)
    place = Path(lake.features.removeprefix("file:"))
    for number, age in enumerate(AGES):
        rows = pa.table({"path": [f"{number}.jpg"]})
        deltalake.write_deltalake(str(place), rows, mode="overwrite")
        log = place / "_delta_log" / f"{number:020}.json"
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            for name, field in (("remove", "deletionTimestamp"), ("add", "modificationTime")):
                if name in action:
                    action[name][field] -= age * 86_400_000
        log.write_text("\n".join(map(json.dumps, actions)) + "\n")
        moment = datetime.now(UTC).timestamp() - age * 86_400
        for file in (log, *place.glob("*.parquet")):
            os.utime(file, (min(moment, file.stat().st_mtime),) * 2)
    return lake


def vacuum(lake: Lake, keep: timedelta) -> None:
    table = deltalake.DeltaTable(lake.features.removeprefix("file:"))
    hours = int(keep / timedelta(hours=1)) + 1
    table.vacuum(retention_hours=hours, enforce_retention_duration=False, dry_run=False)


def test_a_vacuum_that_keeps_for_as_long_spares_the_tagged_version_and_no_more(lake: Lake) -> None:
    tag(lake.root, "audit", "2", force=False)
    tag(lake.root, "later", "3", force=False)
    vacuum(lake, least_retention(read_tags(lake), datetime.now(UTC)))
    found = resolve(lake, "audit")
    table = deltalake.DeltaTable(lake.features.removeprefix("file:"), version=found.number)
    assert table.to_pyarrow_table().to_pylist() == [{"path": "2.jpg"}]
    with pytest.raises(SnapshotError, match=r"^version 0 is vacuumed away: there are 1 "):
        resolve(lake, "0")


def test_a_shorter_one_takes_it(lake: Lake) -> None:
    tag(lake.root, "audit", "2", force=False)
    vacuum(lake, timedelta(days=7))
    with pytest.raises(SnapshotError, match=r"^version 2 is vacuumed away: there are 3 "):
        resolve(lake, "audit")


def test_a_table_that_promises_less_than_the_oldest_tag_needs_is_told(lake: Lake) -> None:
    assert retention_note(lake.root) is None
    assert promised_retention(lake) == timedelta(weeks=1)  # Delta's own
    tag(lake.root, "audit", "2", force=False)
    note = retention_note(lake.root)
    assert note
    assert "for 31 days or longer, the age of the oldest tag, and the features tell it 7" in note
    table = deltalake.DeltaTable(lake.features.removeprefix("file:"))
    for interval, needed in (("interval 720 hours", True), ("interval 3650 days", False)):
        properties = {"delta.deletedFileRetentionDuration": interval}
        table.alter.set_table_properties(properties)
        note = retention_note(lake.root)
        assert note
        assert ("the tagged version is lost" in note) is needed
