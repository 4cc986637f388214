"""Tests for `pomona upgrade`: an old lake gets the current schema and keeps all rows and versions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pyspark.sql import SparkSession

from pomona.queries.freshness import read_freshness
from streaming.errors import LakeError
from streaming.lake.format_version import FORMAT
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS
from streaming.lease.acquire import acquire_lease
from streaming.maintenance.upgrade import upgrade, upgrade_table
from streaming.outcomes import Reason
from support.lakes.format1_lake import OLD_REFIT, TIME, create_format1_lake, image
from support.lakes.small_lakes import rows
from support.lakes.table_rows import add_quarantine
from support.processes.cli import Command, shown

pytestmark = pytest.mark.spark
TABLES = ("features", "quarantine", "refits")


@pytest.fixture(scope="module")
def format1_lake(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Lake]:
    """Create a lake of format 1 in a folder, as a copy of one."""
    template = tmp_path_factory.mktemp("template") / "lake"
    create_format1_lake(spark, template)

    def copy(folder: Path) -> Lake:
        return Lake.at(str(shutil.copytree(template, folder)))

    return copy


def table(lake: Lake, name: str, version: int | None = None) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(f"{lake.root}/{name}".removeprefix("file:"), version=version)


def table_schema(lake: Lake, name: str) -> tuple[Any, ...]:
    """Return columns with comments, properties and the table comment."""
    opened = table(lake, name)
    fields = sorted(
        (f.name, str(f.type), f.nullable, str(f.metadata)) for f in opened.schema().fields
    )
    metadata = opened.metadata()
    properties = {key: value.replace(" ", "") for key, value in metadata.configuration.items()}
    return fields, properties, metadata.description


def content(lake: Lake, name: str, version: int) -> list[dict[str, Any]]:
    rows = table(lake, name, version).to_pyarrow_table().to_pylist()
    return sorted(rows, key=str)


def test_upgraded_lake_has_current_schema_and_all_former_rows_and_versions(
    format1_lake: Callable[[Path], Lake],
    tmp_path: Path,
    new_lake: Callable[[], Path],
    pomona: Command,
) -> None:
    old = format1_lake(tmp_path / "My 'old' lake")
    images = tmp_path / "images"
    images.mkdir()
    versions = {name: table(old, name).version() for name in TABLES}
    last_refit = read_freshness(old.root)["last_refit"]
    before = {(n, v): content(old, n, v) for n in TABLES for v in range(versions[n] + 1)}

    # Commands that only read accept the old format, including the former names of keys and columns.
    status = pomona("status", old.root, "--json").json
    assert (status["rows"], status["last_refit"]["refit_id"]) == (1, "r")
    listed = pomona("tag", old.root, "--json")
    assert listed.status == 0, listed.err
    assert listed.json[0]["created_at"] == "2026-03-03T08:00:00Z"
    assert pomona("show", old.root, "r", "--json").json["parameters"] == {}
    for arguments in (("refit", old.root), ("ingest", str(images), old.root)):
        rejected = pomona(*arguments)
        assert rejected.status == 1
        assert f"has format 1; Pomona 0.1.0 writes format {FORMAT}" in rejected.error_line
        assert f"`pomona upgrade {shown(old.root)}`" in rejected.error_line
    assert versions == {name: table(old, name).version() for name in TABLES}

    with acquire_lease(old):
        assert "is being written by process" in pomona("upgrade", old.root).error_line
    upgraded = pomona("upgrade", old.root)
    assert upgraded.status == 0, upgraded.err
    assert "done: quarantine: constraint known_reason" in upgraded.out
    new = Lake.at(str(new_lake()))
    for name in TABLES:
        assert table_schema(old, name) == table_schema(new, name)
    after = {key: content(old, *key) for key in before}
    assert after == before  # time travel
    now = {name: content(old, name, table(old, name).version()) for name in TABLES}
    rows = [dict(row) for row in before["refits", versions["refits"]]]
    for row in rows:
        row["parameters"] = row.pop("options")
    added = dict.fromkeys(set(REFITS.names) - set(rows[0]))
    assert {"statistics", "drift_from", "drift_exceeded"} <= set(added)
    assert now["features"] == before["features", versions["features"]]
    assert now["quarantine"] == before["quarantine", versions["quarantine"]]
    assert now["refits"] == [row | added for row in rows]

    refit_json = json.loads((Path(tmp_path) / "My 'old' lake/reduced/r/refit.json").read_text())
    assert refit_json == {
        "refit_id": "r",
        "parameters": OLD_REFIT["asked"],
        "drift": {"since": "q", "labels": {"passed": 0.5}, "exceeded": "label passed by 0.50"},
        "csv_sha256": OLD_REFIT["csv_sha256"],
    }
    tag = json.loads((Path(tmp_path) / "My 'old' lake/tags/training.json").read_text())
    assert set(tag) == {"version", "committed", "created_at", "id"}

    versions = {name: table(old, name).version() for name in TABLES}
    assert "already: nothing to do" in pomona("upgrade", old.root).out
    assert pomona("upgrade", old.root, "--json").json["steps"] == []
    assert versions == {name: table(old, name).version() for name in TABLES}
    status = pomona("status", old.root, "--json").json
    assert (status["last_refit"]["refit_id"], status["rows"]) == ("r", 1)
    assert read_freshness(old.root)["last_refit"] == last_refit is not None


@pytest.mark.long
def test_column_rename_interrupted_after_replacing_the_table_restores_the_rows(
    spark: SparkSession,
    format1_lake: Callable[[Path], Lake],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = format1_lake(tmp_path / "lake")
    spark.sql(
        f"ALTER TABLE delta.`{lake.refits}` SET TBLPROPERTIES ('delta.checkpointInterval' = 7)"
    )

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("streaming.delta.writer.Writer.upsert", interrupt)
        with pytest.raises(KeyboardInterrupt):
            upgrade(lake.root)
    assert content(lake, "refits", table(lake, "refits").version()) == []
    upgrade(lake.root)
    (row,) = content(lake, "refits", table(lake, "refits").version())
    assert (row["refit_id"], row["parameters"], row["rows"]) == ("r", "{}", 2)
    found = table(lake, "refits").metadata().configuration
    assert found["delta.checkpointInterval"] == "7"  # properties set by the user stay


def test_upgrade_keeps_properties_that_are_already_set(
    spark: SparkSession, format1_lake: Callable[[Path], Lake], tmp_path: Path
) -> None:
    lake = format1_lake(tmp_path / "lake")
    assignment = "'delta.logRetentionDuration' = 'interval 9999 days'"
    spark.sql(f"ALTER TABLE delta.`{lake.refits}` SET TBLPROPERTIES ({assignment})")
    upgrade_table(spark, lake.refits, REFITS)
    properties = table(lake, "refits").metadata().configuration
    assert properties["delta.logRetentionDuration"] == "interval 9999 days"


def test_lake_without_model_and_length_of_vectors_is_upgraded_after_models_are_restored(
    spark: SparkSession,
    format1_lake: Callable[[Path], Lake],
    new_lake: Callable[[], Path],
    tmp_path: Path,
) -> None:
    lake = format1_lake(tmp_path / "lake")
    spark.sql(f"ALTER TABLE delta.`{lake.features}` DROP CONSTRAINT features_width")
    with pytest.raises(
        LakeError, match="restore models/ from a copy of the lake, then run `pomona"
    ):
        upgrade(lake.root)
    shutil.copytree(new_lake() / "models", tmp_path / "lake" / "models")
    assert f"format {FORMAT}" in upgrade(lake.root)


def test_lake_of_format_4_accepts_the_reason_unsupported_after_its_upgrade(
    spark: SparkSession, tmp_path: Path, new_lake: Callable[[], Path], pomona: Command
) -> None:
    lake = Lake.at(str(new_lake()))
    former = [str(reason) for reason in Reason if reason is not Reason.UNSUPPORTED]
    name = f"delta.`{lake.quarantine}`"
    spark.sql(f"ALTER TABLE {name} DROP CONSTRAINT known_reason")
    check = f"reason IN ({', '.join(map(repr, former))})"
    spark.sql(f"ALTER TABLE {name} ADD CONSTRAINT known_reason CHECK ({check})")
    (Path(lake.root[5:]) / "lake.json").write_text('{"format": 4, "pomona": "0.1.0"}')
    add_quarantine(spark, lake, [image("a")], TIME, "corrupt")
    with pytest.raises(Exception, match="known_reason"):
        add_quarantine(spark, lake, [image("b")], TIME, "unsupported")
    (tmp_path / "images").mkdir()
    rejected = pomona("ingest", str(tmp_path / "images"), lake.root)
    assert f"has format 4; Pomona 0.1.0 writes format {FORMAT}" in rejected.error_line

    assert pomona("upgrade", lake.root, "--json").json["steps"] == [
        "quarantine: constraint known_reason",
        f"format {FORMAT}",
    ]
    add_quarantine(spark, lake, [image("b")], TIME, "unsupported")
    reasons = {row["path"]: row["reason"] for row in rows(lake.quarantine)}
    assert reasons == {image("a").path: "corrupt", image("b").path: "unsupported"}
    assert pomona("quarantine", lake.root, "--reason", "unsupported", "--json").json
