"""Tests for `streaming.ingest.checkpoint`.

A missing, truncated or empty checkpoint neither loses nor duplicates rows, and does not stop ingestion.
"""

from __future__ import annotations

import logging
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from streaming.ingest.checkpoint import find_damage
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from streaming.storage.interface import local_path
from support.lakes.small_lakes import GARBAGE, ONCE, below, jpeg, photos, put, put_all

BATCHES = 2


class IngestedLake:
    """A source, and a lake into which it was ingested in two micro-batches."""

    def __init__(self, source: Path, lake: Lake) -> None:
        self.source, self.lake = source, lake
        self.checkpoint = local_path(lake.for_manifests().checkpoint)
        for number in range(BATCHES):
            put_all(source, photos(f"Fig {number}", range(2)))
            put(source / f"Fig {number}" / "bad.jpg", GARBAGE)
            self.run()

    def run(self) -> int:
        """Run `ingest --once`; return the number of images written."""
        return ingest(str(self.source), self.lake.root, ONCE).outcomes.total()

    def assert_run_writes_only_new_images(self, name: str) -> None:
        """Add two images below the folder `name`; fail unless a run writes these only."""
        put_all(self.source, {f"{name}/good.jpg": jpeg(9), f"{name}/bad.jpg": GARBAGE})
        assert self.run() == 2
        tables = below(self.source, self.lake.features), below(self.source, self.lake.quarantine)
        names = sorted(str(file.relative_to(self.source)) for file in self.source.rglob("*.jpg"))
        assert tables == (
            [name for name in names if "bad" not in name],
            [name for name in names if "bad" in name],
        )

    def damaged_checkpoints(self) -> list[Path]:
        """Return the checkpoints that were set aside."""
        return sorted(self.checkpoint.parent.glob("ingest-arrivals.damaged-*"))


@pytest.fixture(scope="module")
def ingested(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> IngestedLake:
    return IngestedLake(tmp_path_factory.mktemp("images"), Lake.at(str(new_lake())))


def overwrite(file: Path, content: bytes) -> None:
    """Overwrite a file and delete its checksum file."""
    file.write_bytes(content)
    (file.parent / f".{file.name}.crc").unlink(missing_ok=True)


@pytest.mark.spark
def test_missing_checkpoint_loses_no_row(ingested: IngestedLake) -> None:
    shutil.rmtree(ingested.checkpoint)
    ingested.assert_run_writes_only_new_images("deleted")


@pytest.mark.spark
def test_batch_numbers_restarting_at_zero_are_not_ignored(ingested: IngestedLake) -> None:
    """The query keeps its id, with which these batch numbers are already committed in Delta."""
    for folder in ("offsets", "commits", "sources"):
        shutil.rmtree(ingested.checkpoint / folder)
    ingested.assert_run_writes_only_new_images("restarted")
    assert not ingested.damaged_checkpoints()


@pytest.mark.spark
def test_damaged_checkpoint_is_set_aside_and_recreated(
    ingested: IngestedLake, caplog: pytest.LogCaptureFixture
) -> None:
    (newest,) = sorted((ingested.checkpoint / "offsets").glob("[0-9]"))[-1:]
    overwrite(newest, b"")
    with caplog.at_level(logging.WARNING):
        ingested.assert_run_writes_only_new_images("damaged")
    (damaged,) = ingested.damaged_checkpoints()
    assert (damaged / "offsets" / newest.name).read_bytes() == b""
    (line,) = [record.getMessage() for record in caplog.records if "moved to" in record.message]
    assert f"{ingested.lake.for_manifests().checkpoint} is damaged" in line
    assert damaged.name in line
    assert "\n" not in line


@pytest.mark.spark
def test_checkpoint_with_incomplete_first_entry_is_recovered(ingested: IngestedLake) -> None:
    """Spark 4.1 and later refuse a log with nothing but an incomplete entry; Spark 3.5 and 4.0 accept it."""
    for folder in ("offsets", "commits"):
        shutil.rmtree(ingested.checkpoint / folder)
    put(ingested.checkpoint / "offsets" / ".0.b0a8.tmp", b"v1")
    before = len(ingested.damaged_checkpoints())
    ingested.assert_run_writes_only_new_images("first entry")
    is_refused = pyspark.__version__ >= "4.1"
    assert len(ingested.damaged_checkpoints()) == before + is_refused


COMPLETE = {
    "metadata": b'{"id":"b0a8"}',
    "offsets/0": b'v1\n{"batchWatermarkMs":0}\n{"logOffset":0}',
    "offsets/1": b'v1\n{"batchWatermarkMs":0}\n-',
    "commits/0": b'v1\n{"nextBatchWatermarkMs":0}',
    "sources/0/9.compact": b'v1\n{"path":"file:///images/0.jpg"}\n{"path":"file:///images/1.jpg"}',
    "sources/0/10": b"v1",
    "sources/0/3": b'v1\n{"path":"file:///images/0.jpg"}',
    "offsets/.2.b0a8.tmp": b"v",
    "commits/.0.crc": b"crc",
}


@pytest.mark.parametrize(
    ("changes", "damage"),
    [
        ({}, None),
        ({"commits/0": b'v1\n{"next'}, "commits/0 is incomplete"),
        ({"offsets/1": b""}, "offsets/1 is incomplete"),
        ({"offsets/1": b"v1"}, "offsets/1 is incomplete"),
        ({"metadata": b""}, "metadata is incomplete"),
        ({"metadata": None}, "its metadata is missing"),
        ({"offsets/1": None, "commits/1": b"v1\n{}"}, "offsets/1 is missing"),
        ({"offsets/0": None, "offsets/1": None}, "offsets/0 is missing"),
        ({"sources/0/11": b"v1", "sources/0/10": None}, "sources/0/10 is missing"),
        ({"commits/0": None}, "commits/0 is missing"),
    ],
)
def test_find_damage_names_damaged_file(
    changes: dict[str, bytes | None], damage: str | None, tmp_path: Path
) -> None:
    lake = Lake.at(str(tmp_path))
    for name, content in (COMPLETE | changes).items():
        if content is not None:
            put(local_path(lake.checkpoint) / name, content)
    assert find_damage(lake, RuntimeError("Read timed out")) == damage


@pytest.mark.parametrize(("cut", "damage"), [(0, None), (5, "sources/0/9.compact is incomplete")])
def test_large_entry_of_a_source_is_not_read_in_full(
    cut: int, damage: str | None, tmp_path: Path
) -> None:
    lake = Lake.at(str(tmp_path))
    line = b'\n{"path":"file:///images/0123456789.jpg"}'
    content = b"v1" + line * 500_000
    compact = {"sources/0/9.compact": content[: len(content) - cut]}
    for name, each in (COMPLETE | compact).items():
        put(local_path(lake.checkpoint) / name, each)
    tracemalloc.start()
    try:
        assert find_damage(lake, RuntimeError("Read timed out")) == damage
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("batch 2 doesn't exist", "the log of the source lacks an entry"),
        ("Multiple streaming queries are concurrently using file:/lake/c", "renamed into place"),
        ("[STATE_STORE_CHECKPOINT_LOCATION_NOT_EMPTY] …", "first entry is incomplete"),
        ("the bucket fruits doesn't exist", None),
    ],
)
def test_find_damage_recognizes_spark_messages(
    message: str, damage: str | None, tmp_path: Path
) -> None:
    found = find_damage(Lake.at(str(tmp_path)), RuntimeError(message))
    assert found is None if damage is None else damage in str(found)


def test_find_damage_recognizes_checksum_error(tmp_path: Path) -> None:
    error = RuntimeError("Checksum error: file:/lake/checkpoints/ingest/offsets/3 at 0")
    damage = "/lake/checkpoints/ingest/offsets/3 does not match its checksum"
    assert find_damage(Lake.at(str(tmp_path)), error) == damage
