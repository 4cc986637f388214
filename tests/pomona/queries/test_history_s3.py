"""Tests for time travel on S3: versions, differences, image history and tags of tables written by delta-rs."""

from __future__ import annotations

import deltalake
import pyarrow as pa
import pytest

from streaming.delta.tables import RETENTION, RETENTION_PROPERTIES
from streaming.lake.format_version import write_format
from streaming.storage.s3_client import delta_rs_options
from support.lakes.feature_lakes import Images, images
from support.processes.cli import Command, forbid_spark, shown

pytestmark = pytest.mark.s3

ROWS = images(12, seed=1)


def write(location: str, table: pa.Table, mode: str = "append") -> None:
    deltalake.write_deltalake(
        location,
        table,
        mode=mode,  # type: ignore[arg-type]
        storage_options=delta_rs_options(),
        configuration={"delta.enableChangeDataFeed": "true"}
        | dict.fromkeys(RETENTION_PROPERTIES, RETENTION),
    )


@pytest.fixture
def lake(bucket: str) -> str:
    """Create a lake: version 0 is empty, 1 adds 12 rows, 2 overwrites them with the last 10 and two others."""
    root = f"s3://{bucket}/My lake"
    write_format(root.replace("s3:", "s3a:"))
    empty = ROWS.table().slice(0, 0)
    write(f"{root}/features", empty)
    write(f"{root}/quarantine", empty.select(["path", "label"]))
    write(f"{root}/features", ROWS.table())
    others = images(2, seed=2)
    later = Images(ROWS.paths[2:], ROWS.labels[2:], ROWS.vectors[2:])
    hashes = ROWS.table()["content_hash"].slice(2)
    kept = later.table().set_column(4, "content_hash", hashes)
    write(f"{root}/features", pa.concat_tables([kept, others.table()]), "overwrite")
    return root


def test_history_diff_show_and_tags(
    lake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forbid_spark(monkeypatch)
    pomona = Command(monkeypatch, capsys)
    assert pomona("tag", lake, "before", "--as-of", 1).status == 0
    found = pomona("diff", lake, "before", "latest", "--images", "--json").json
    assert found["images"]["removed"] == sorted(map(shown, ROWS.paths[:2]))
    assert found["images"]["added"] == sorted(map(shown, images(2, seed=2).paths))
    assert found["images"]["replaced"] == []
    assert pomona("show", lake, "--as-of", "before", "--json").json["rows"] == 12
    gone = pomona("show", lake, ROWS.paths[0], "--json").json
    assert gone["row"] is None
    assert [(v["from"], v["until"]) for v in gone["versions"]] == [(1, 2)]
    there = pomona("show", lake, ROWS.paths[5], "--as-of", 1, "--json").json
    assert there["row"]["features"] == pytest.approx(ROWS.vectors[5].tolist())
    table = deltalake.DeltaTable(f"{lake}/features", storage_options=delta_rs_options())
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    message = pomona("show", lake, "--as-of", "before").error_line
    assert "version 1 was removed by VACUUM: available are 2 (" in message
