"""Tests for repeated upgrades: after a kill, and after rows that violate a constraint were corrected."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pytest
from pyspark.sql import SparkSession

from streaming.errors import LakeError
from streaming.lake.format_version import FORMAT
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE
from streaming.maintenance.upgrade import upgrade, upgrade_table
from support.lakes.format1_lake import create_format1_lake, image
from support.lakes.small_lakes import rows
from support.lakes.table_rows import FEATURES
from support.processes.cli import Command

pytestmark = pytest.mark.spark


def table(lake: Lake, name: str) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(f"{lake.root}/{name}".removeprefix("file:"))


def test_killed_upgrade_resumes(spark: SparkSession, tmp_path: Path) -> None:
    lake = create_format1_lake(spark, tmp_path / "lake")
    upgrade_table(spark, lake.quarantine, QUARANTINE)
    spark.sql(f"ALTER TABLE delta.`{lake.features}` DROP CONSTRAINT features_width")
    upgrade_table(spark, lake.features, FEATURES)
    with pytest.raises(LakeError, match="has format 1"):
        lake.validate()
    assert [step.split(":")[0] for step in upgrade(lake.root)] == [
        "refits",
        "reduced/r/refit.json",
        "tags/training.json",
        f"format {FORMAT}",
    ]
    lake.validate()
    assert table(lake, "features").metadata().configuration["delta.constraints.features_width"]


def test_rows_that_violate_constraint_stop_upgrade_before_format_is_raised(
    spark: SparkSession, tmp_path: Path, pomona: Command
) -> None:
    lake = create_format1_lake(spark, tmp_path / "lake")
    spark.sql(f"UPDATE delta.`{lake.quarantine}` SET reason = 'felt like it'")
    done = pomona("upgrade", lake.root)
    assert done.status == 1
    assert "violate the constraint known_reason" in done.error_line
    assert lake.format().number == 1  # type: ignore[union-attr]
    spark.sql(f"UPDATE delta.`{lake.quarantine}` SET reason = 'corrupt'")
    assert pomona("upgrade", lake.root).status == 0
    assert [row["path"] for row in rows(lake.quarantine)] == [image("bad").path]
