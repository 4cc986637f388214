"""Tests for `pomona.sql.catalog`: a temporary database per query, no persistent catalog, and no unchecked version."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pyspark.sql import SparkSession

from pomona.sql.catalog import TABLES, open_catalog_session, register_tables
from pomona.sql.query import run_query
from streaming.delta import external_files
from streaming.errors import ExternalError, LakeError, PlatformError
from streaming.lake.layout import Lake
from support.lakes.deltars_lakes import create_deltars_lake, random_images
from support.lakes.query_lakes import QueryLake

pytestmark = pytest.mark.spark


def databases(spark: SparkSession) -> set[str]:
    return {row.namespace for row in spark.sql("SHOW DATABASES").collect()}


@pytest.fixture
def hive(spark: SparkSession) -> Iterator[SparkSession]:
    """Return a session that reports a Hive catalog; Python cannot change this static setting, the JVM can."""
    session = spark.newSession()
    conf = session._jsparkSession.sessionState().conf()
    conf.setConfString("spark.sql.catalogImplementation", "hive")
    assert session.conf.get("spark.sql.catalogImplementation") == "hive"
    yield session
    conf.unsetConf("spark.sql.catalogImplementation")


def test_persistent_catalog_is_rejected_and_unchanged(hive: SparkSession) -> None:
    before = databases(hive)
    message = r"^spark.sql.catalogImplementation is hive: .* with `in-memory`$"
    with pytest.raises(PlatformError, match=message), open_catalog_session(hive):
        pytest.fail("the session was opened")
    assert databases(hive) == before


def test_tables_are_visible_in_the_session_only_and_dropped_on_exit(
    spark: SparkSession, query_lake: QueryLake
) -> None:
    before, tables = databases(spark), spark.sql("SHOW TABLES").collect()
    with open_catalog_session(spark) as session:
        register_tables(session, query_lake.lake, dict.fromkeys(TABLES, ()))
        (database,) = databases(spark) - before
        assert session.catalog.currentDatabase() == database
        assert {row.tableName for row in session.sql("SHOW TABLES").collect()} == set(TABLES)
        assert spark.catalog.currentDatabase() == "default"
        assert spark.sql("SHOW TABLES").collect() == tables
    assert databases(spark) == before
    assert query_lake.folder.joinpath("features").is_dir()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with versions 0 to 5 of the features, and checkpoints of the versions 2 and 4."""
    lake = create_deltars_lake(tmp_path / "lake", *(random_images(2, 8, seed) for seed in range(6)))
    for number in (2, 4):
        deltalake.DeltaTable(
            lake.features.removeprefix("file:"), version=number
        ).create_checkpoint()
    return lake


def log_file(lake: Lake, name: str) -> Path:
    return Path(lake.features.removeprefix("file:"), "_delta_log", name)


def move_file_out_of_table(lake: Lake, number: int) -> Path:
    """Move the data file that a commit adds out of the table; the commit names its new location."""
    commit = log_file(lake, f"{number:020}.json")
    actions = [json.loads(line) for line in commit.read_text().splitlines()]
    private = Path(lake.root.removeprefix("file:")).with_name("private.parquet")
    for action in actions:
        if "add" in action:
            shutil.copy(commit.parents[1] / action["add"]["path"], private)
            action["add"]["path"] = str(private)
    commit.write_text("\n".join(map(json.dumps, actions)))
    return private


def damage_for_spark(checkpoint: Path) -> None:
    """Write checksums of Hadoop for a file that are wrong except for its footer; Arrow ignores them."""
    content = checkpoint.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    checksums = [
        zlib.crc32(content[start : start + 512]) if start + 512 > footer else 0
        for start in range(0, len(content), 512)
    ]
    checkpoint.with_name(f".{checkpoint.name}.crc").write_bytes(
        b"crc\0" + struct.pack(f">{1 + len(checksums)}I", 512, *checksums)
    )


def rows_of(lake: Lake, relation: str) -> list[Any]:
    with run_query(lake.root, f"SELECT path, input_file_name() FROM {relation}") as rows:
        return rows.collect()


def test_only_the_versions_that_a_query_reads_are_checked(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, read = list[str](), external_files._read

    def record(path: str) -> bytes:
        names.append(path.rpartition("/")[2].lstrip("0"))
        return read(path)

    monkeypatch.setattr(external_files, "_read", record)
    for versions, expected in (
        ((), {"4.checkpoint.parquet", "5.json"}),
        ((3,), {"2.checkpoint.parquet", "3.json"}),
        ((1, 2), {".json", "1.json"}),
    ):
        with open_catalog_session(spark) as session:
            register_tables(session, lake, {"features": versions})
        assert set(names) == expected  # each file is read once
        names.clear()


def test_query_of_a_version_with_a_file_outside_of_the_table_is_rejected(
    spark: SparkSession, lake: Lake
) -> None:
    move_file_out_of_table(lake, 1)
    assert len(rows_of(lake, "features")) == 12
    assert len(rows_of(lake, "features VERSION AS OF 0")) == 2
    for relation in (
        "features VERSION AS OF 1",
        "features FOR VERSION AS OF '01'",
        "(WITH refits AS (SELECT * FROM FEATURES VERSION AS OF 1) SELECT * FROM refits)",
        "features WHERE path IN (SELECT path FROM features VERSION AS OF 1)",
    ):
        with pytest.raises(LakeError, match="outside of the table"):
            rows_of(lake, relation)


@pytest.mark.parametrize("relation", ["features", "features VERSION AS OF 4"])
def test_commits_before_a_damaged_checkpoint_are_not_read(
    spark: SparkSession, lake: Lake, relation: str
) -> None:
    move_file_out_of_table(lake, 3)
    damage_for_spark(log_file(lake, f"{4:020}.checkpoint.parquet"))
    with pytest.raises(ExternalError, match="Checksum error"):
        rows_of(lake, relation)
