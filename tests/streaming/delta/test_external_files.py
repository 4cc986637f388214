"""Tests for `streaming.delta.external_files`: no reader opens a file that a log or a link names outside of a table."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet
import pytest
from pyspark.sql import SparkSession

from batch_pca.stats.change_feed import change_feed
from streaming.delta import external_files
from streaming.delta.external_files import check_changes, check_files
from streaming.delta.reader import open_table, read_change_feed
from streaming.delta.tables import read_table
from streaming.delta.writer import Writer
from streaming.errors import LakeError
from streaming.lake.layout import Lake
from streaming.storage.interface import StoredFile

OUTSIDE = r"outside of the table.*POMONA_EXTERNAL_FILES=1"
# A name of a deletion vector: 20 characters of an encoded UUID.
ENCODED = "ab^-aqEH.-t@S}K{vb[*"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with one row; beside it, a table `private`."""
    for name in ("private", "features"):
        configuration = {"delta.enableChangeDataFeed": "true"}
        deltalake.write_deltalake(
            str(tmp_path / name), pa.table({"path": [name]}), configuration=configuration
        )
    return tmp_path / "features"


def own_file(table: Path) -> str:
    (file,) = table.glob("*.parquet")
    return file.name


def commit_file(table: Path, number: int = 0) -> Path:
    return table / "_delta_log" / f"{number:020}.json"


def change_add(table: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the action ``add`` of the first commit."""
    lines = [json.loads(line) for line in commit_file(table).read_text().splitlines()]
    for action in lines:
        if "add" in action:
            change(action["add"])
    commit_file(table).write_text("\n".join(map(json.dumps, lines)))


def plant(table: Path, number: int, *actions: dict[str, Any]) -> None:
    commit_file(table, number).write_text("\n".join(map(json.dumps, actions)))


def assert_rejected(table: Path, match: str = OUTSIDE) -> None:
    with pytest.raises(LakeError, match=match) as caught:
        open_table(f"file:{table}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "prefix",
    [
        "file://{}/",
        "FILE:{}/",
        " file:{}/",
        "{}/",
        "../private/",
        ".\t./private/",
        "%2e%2e/private/",
        ".%2E/private/",
        "a/../../private/",
        "..%2Fprivate%2F",
        "%2Ftmp/",
        "s3://bucket/",
    ],
)
def test_file_outside_of_table_is_read_only_with_an_option(
    table: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    name = prefix.format(table.with_name("private")) + own_file(table.with_name("private"))
    change_add(table, lambda add: add.update(path=name))
    assert_rejected(table)
    monkeypatch.setenv("POMONA_EXTERNAL_FILES", "1")
    open_table(f"file:{table}")


@pytest.mark.parametrize(
    "name",
    ["a..b.parquet", "..b.parquet", "0%2050%25.parquet", "x=1%3A2/b.parquet", "%252e%252e/b"],
)
def test_file_with_unusual_name_is_below_the_table(table: Path, name: str) -> None:
    change_add(table, lambda add: add.update(path=name))
    assert open_table(f"file:{table}").version() == 0


@pytest.mark.parametrize(
    ("storage_type", "name"),
    [
        ("p", "file:///etc/passwd"),
        ("p", "/etc/passwd"),
        ("u", f"/etc/{ENCODED}"),
        ("u", f"../{ENCODED}"),
        ("u", f"ab/%2e%2e/..{ENCODED}"),
        ("x", "s3://bucket/vector"),
    ],
)
@pytest.mark.parametrize("checkpoint", [False, True])
def test_deletion_vector_outside_of_table_is_rejected(
    table: Path, storage_type: str, name: str, checkpoint: bool
) -> None:
    vector = {"storageType": storage_type, "pathOrInlineDv": name, "offset": 1}
    vector |= {"sizeInBytes": 40, "cardinality": 1}
    if not checkpoint:
        change_add(table, lambda add: add.update(deletionVector=vector))
        assert_rejected(table)
        return
    deltalake.DeltaTable(str(table)).create_checkpoint()
    (file,) = (table / "_delta_log").glob("*.parquet")
    rows = pyarrow.parquet.read_table(file).to_pylist()
    for row in rows:
        if row["add"]:
            row["add"] = {"path": own_file(table), "deletionVector": vector}
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), file)
    assert_rejected(table)


@pytest.mark.parametrize(
    ("storage_type", "name"), [("u", ENCODED), ("u", f"ab{ENCODED}"), ("i", "/")]
)
def test_deletion_vector_of_the_table_is_accepted(
    table: Path, storage_type: str, name: str
) -> None:
    vector = {"storageType": storage_type, "pathOrInlineDv": name, "offset": 1}
    vector |= {"sizeInBytes": 40, "cardinality": 1}
    change_add(table, lambda add: add.update(deletionVector=vector))
    check_files(f"file:{table}")


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../private/x.parquet", "file:/x.parquet"])
@pytest.mark.parametrize("suffix", ["parquet", "0f1e2d3c-0000-0000-0000-000000000000.json"])
def test_sidecar_outside_of_table_is_rejected(table: Path, name: str, suffix: str) -> None:
    sidecar = {"sidecar": {"path": name, "sizeInBytes": 1, "modificationTime": 1}}
    file = table / "_delta_log" / f"{0:020}.checkpoint.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist([sidecar]), file)
    else:
        file.write_text(json.dumps(sidecar))
    assert_rejected(table)


@pytest.mark.parametrize("kind", ["add", "remove", "cdc"])
def test_changed_file_outside_of_table_is_rejected(table: Path, kind: str) -> None:
    deltalake.write_deltalake(str(table), pa.table({"path": ["b"]}), mode="append")
    opened = open_table(f"file:{table}")
    action = {"path": f"{table.with_name('private')}/x.parquet", "partitionValues": {}, "size": 1}
    plant(table, 1, {kind: action | {"dataChange": True}})
    with pytest.raises(LakeError, match=OUTSIDE):
        list(read_change_feed(opened, 0, ["path"]))
    with pytest.raises(LakeError, match=OUTSIDE):
        check_changes(f"file:{table}", 1, 1)
    check_changes(f"file:{table}", 2, 5)


def test_compacted_commits_are_checked(table: Path) -> None:
    file = table / "_delta_log" / f"{0:020}.{5:020}.compacted.json"
    file.write_text(json.dumps({"add": {"path": "../private/x.parquet"}}))
    assert_rejected(table)


@pytest.mark.parametrize("suffix", ["0000000001.0000000002.parquet", "x.parquet", "x.json", "json"])
def test_commits_before_an_incomplete_checkpoint_are_checked(table: Path, suffix: str) -> None:
    change_add(table, lambda add: add.update(path="../private/x.parquet"))
    file = table / "_delta_log" / f"{0:020}.checkpoint.{suffix}"
    if suffix.endswith("parquet"):
        pyarrow.parquet.write_table(pa.table({"txn": ["a"]}), file)
    else:
        file.touch()
    assert_rejected(table)


def test_only_the_files_of_the_version_are_checked(table: Path) -> None:
    location = f"file:{table}"
    deltalake.DeltaTable(str(table)).create_checkpoint()
    plant(table, 1, {"add": {"path": "/etc/passwd"}})
    check_files(location, 0)
    with pytest.raises(LakeError, match=OUTSIDE):
        check_files(location, 1)
    plant(table, 1)
    check_files(location)
    commit_file(table).write_text(json.dumps({"add": {"path": "/etc/passwd"}}))
    check_files(location)  # the checkpoint replaces this commit


@pytest.mark.parametrize("number", [2, 2**62])
def test_gap_in_the_log_is_rejected_without_waiting(table: Path, number: int) -> None:
    plant(table, number, {"commitInfo": {}})
    for version in (None, number):
        with pytest.raises(LakeError, match=rf"no version 1, but version {number}: restore"):
            open_table(f"file:{table}", version)
    assert open_table(f"file:{table}", 0).version() == 0


def test_commits_written_during_the_listing_are_no_gap(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(table, 1, {"commitInfo": {}})
    plant(table, 2, {"commitInfo": {}})
    complete = list(external_files.list_log(f"file:{table}"))
    listings = [[file for file in complete if "1.json" not in file.path], complete]
    monkeypatch.setattr(external_files, "list_log", lambda _: listings.pop(0))
    check_files(f"file:{table}")
    assert not listings


@pytest.mark.parametrize("name", ["part.parquet", "sub/part.parquet", "_delta_log/x.json"])
def test_link_out_of_table_is_rejected(
    table: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (table / name).parent.mkdir(exist_ok=True)
    (table / name).symlink_to(table.with_name("private") / own_file(table.with_name("private")))
    assert_rejected(table, r"is a link that leads out of .*features")
    monkeypatch.setenv("POMONA_EXTERNAL_FILES", "1")
    assert open_table(f"file:{table}").version() == 0


@pytest.mark.parametrize("target", ["none.json", f"{1:020}.json"])
def test_link_to_nothing_is_rejected(table: Path, target: str) -> None:
    (table / "_delta_log" / f"{1:020}.json").symlink_to(target)
    assert_rejected(table, "does not exist, or to itself: delete it")


def test_linked_folder_out_of_table_is_rejected(table: Path) -> None:
    (table / "x=1").symlink_to(table.with_name("private"))
    assert_rejected(table, "x=1: is a link that leads out of")


def test_links_within_table_and_to_the_table_are_followed(table: Path, tmp_path: Path) -> None:
    (table / "to itself").symlink_to(own_file(table))
    (tmp_path / "linked").symlink_to(table)
    assert open_table(f"file:{tmp_path}/linked").version() == 0


@pytest.mark.parametrize("name", ["part.parquet", f"_delta_log/{1:020}.json"])
def test_fifo_in_table_is_rejected_without_waiting(table: Path, name: str) -> None:
    os.mkfifo(table / name)
    assert_rejected(table, "is not a regular file: delete it")


@pytest.mark.spark
def test_spark_reads_no_file_outside_of_table(
    spark: SparkSession, tables: Path, tmp_path: Path
) -> None:
    lake = Lake.at(str(shutil.copytree(tables, tmp_path / "lake")))
    plant(tmp_path / "lake" / "features", 1, {"add": {"path": "/etc/passwd"}})
    writer = Writer(spark, lake.features, {})
    reads: list[Callable[[], object]] = [
        lambda: read_table(spark, lake.features),
        lambda: read_table(spark, lake.features, 1),
        lambda: change_feed(spark, lake, 0, 1),
        lambda: writer.delete(["x"]),
        lambda: writer.upsert(spark.range(1).selectExpr("string(id) AS path"), merge=True),
    ]
    for read in reads:
        with pytest.raises(LakeError, match=OUTSIDE):
            read()
    assert read_table(spark, lake.features, 0).count() == 0


@pytest.fixture
def long_log(table: Path) -> Path:
    """A table of 12 versions with a checkpoint of version 10."""
    for number in range(1, 12):
        deltalake.write_deltalake(str(table), pa.table({"path": [str(number)]}), mode="append")
        if number == 10:
            deltalake.DeltaTable(str(table)).create_checkpoint()
    return table


def listed_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the names of the files of each listing of a log."""
    names, list_log = list[str](), external_files.list_log

    def record(location: str, first: int = 0) -> Iterator[StoredFile]:
        for file in list_log(location, first):
            names.append(file.path.rpartition("/")[2])
            yield file

    monkeypatch.setattr(external_files, "list_log", record)
    return names


def test_log_is_listed_from_its_last_checkpoint(
    long_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = listed_names(monkeypatch)
    check_files(f"file:{long_log}")
    expected = {f"{10:020}.checkpoint.parquet", f"{10:020}.json", f"{11:020}.json"}
    assert set(names) == expected | {"_last_checkpoint"}
    names.clear()
    check_files(f"file:{long_log}", 3)
    assert len(names) == 14
    plant(long_log, 11, {"add": {"path": "/etc/passwd"}})
    assert_rejected(long_log)


@pytest.mark.parametrize("hint", ["", "no JSON", "{}", '{"version": -1}', '{"version": 5}', None])
def test_log_is_listed_completely_if_the_hint_is_wrong(
    long_log: Path, monkeypatch: pytest.MonkeyPatch, hint: str | None
) -> None:
    file = long_log / "_delta_log" / "_last_checkpoint"
    if hint is None:
        file.unlink()
    else:
        file.write_text(hint)
    names = listed_names(monkeypatch)
    check_files(f"file:{long_log}")
    assert {f"{number:020}.json" for number in range(12)} < set(names)
    plant(long_log, 11, {"add": {"path": "/etc/passwd"}})
    with pytest.raises(LakeError, match=OUTSIDE):
        check_files(f"file:{long_log}")
