"""Tests for `pomona upgrade`: an old lake gets the contract of a new one, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pyspark.sql import SparkSession

from streaming.lake.format_version import FORMAT
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS
from streaming.lease.acquire import acquire_lease
from streaming.maintenance.upgrade import upgrade_table
from support.cli import Command, shown
from support.format1_lake import create_format1_lake

pytestmark = pytest.mark.spark
TABLES = ("features", "quarantine", "refits")


def table(lake: Lake, name: str, version: int | None = None) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(f"{lake.root}/{name}".removeprefix("file:"), version=version)


def contract(lake: Lake, name: str) -> tuple[Any, ...]:
    """Columns with their comments, and properties."""
    found = table(lake, name)
    fields = sorted(
        (f.name, str(f.type), f.nullable, str(f.metadata)) for f in found.schema().fields
    )
    kept = {key: value.replace(" ", "") for key, value in found.metadata().configuration.items()}
    return fields, kept, found.metadata().description


def content(lake: Lake, name: str, version: int) -> list[dict[str, Any]]:
    found = table(lake, name, version).to_pyarrow_table().to_pylist()
    return sorted(found, key=str)


def test_an_upgraded_lake_has_the_contract_of_a_new_one_and_all_that_it_held(
    spark: SparkSession, tmp_path: Path, new_lake: Callable[[], Path], pomona: Command
) -> None:
    old = create_format1_lake(spark, tmp_path / "My 'old' lake")
    images = tmp_path / "images"
    images.mkdir()
    versions = {name: table(old, name).version() for name in TABLES}
    before = {(n, v): content(old, n, v) for n in TABLES for v in range(versions[n] + 1)}

    assert pomona("status", old.root, "--json").json["rows"] == 1  # reading does with the old one
    for words in (("refit", old.root), ("ingest", str(images), old.root)):
        told = pomona(*words)
        assert told.status == 1
        assert f"has format 1, and Pomona 0.1.0 writes format {FORMAT}" in told.complaint
        assert f"`pomona upgrade {shown(old.root)}`" in told.complaint
    assert versions == {name: table(old, name).version() for name in TABLES}

    with acquire_lease(old):  # as an older stream would
        assert "is being written by process" in pomona("upgrade", old.root).complaint
    done = pomona("upgrade", old.root)
    assert done.status == 0, done.err
    assert "added quarantine: constraint known_reason" in done.out
    new = Lake.at(str(new_lake()))
    for name in TABLES:
        assert contract(old, name) == contract(new, name)
    after = {key: content(old, *key) for key in before}
    assert after == before  # time travel
    now = {name: content(old, name, table(old, name).version()) for name in TABLES}
    since = dict.fromkeys(set(REFITS.names) - set(before["refits", versions["refits"]][0]))
    assert {"statistics", "drift_from", "drift_passed"} <= set(since)
    assert now["features"] == before["features", versions["features"]]
    assert now["quarantine"] == before["quarantine", versions["quarantine"]]
    assert now["refits"] == [row | since for row in before["refits", versions["refits"]]]

    versions = {name: table(old, name).version() for name in TABLES}
    assert "already: nothing to do" in pomona("upgrade", old.root).out
    assert pomona("upgrade", old.root, "--json").json["done"] == []
    assert versions == {name: table(old, name).version() for name in TABLES}
    status = pomona("status", old.root, "--json").json
    assert (status["last_refit"]["refit_id"], status["rows"]) == ("r", 1)


def test_a_property_that_somebody_has_set_stays(spark: SparkSession, tmp_path: Path) -> None:
    lake = create_format1_lake(spark, tmp_path / "lake")
    kept = "'delta.logRetentionDuration' = 'interval 9999 days'"
    spark.sql(f"ALTER TABLE delta.`{lake.refits}` SET TBLPROPERTIES ({kept})")
    upgrade_table(spark, lake.refits, REFITS)
    found = table(lake, "refits").metadata().configuration
    assert found["delta.logRetentionDuration"] == "interval 9999 days"
