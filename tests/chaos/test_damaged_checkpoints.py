"""Tests for every kind of damage to every checkpoint file: the next run loses and duplicates no row."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from streaming.storage.interface import local_path
from support.lakes.small_lakes import GARBAGE, ONCE, below, jpeg, photos, put, put_all

pytestmark = [pytest.mark.spark, pytest.mark.slow]

FILES = (
    "metadata",
    "offsets/1",
    "offsets/2",
    "commits/1",
    "commits/2",
    "sources/0/0",
    "sources/0/2",
)
FOLDERS = ("offsets", "commits", "sources", "")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def overwrite(file: Path) -> None:
    file.write_bytes(b'v1\n{"a')


def delete(file: Path) -> None:
    file.unlink()


DAMAGES = (cut, empty, overwrite, delete)


@pytest.fixture(scope="module")
def template(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Return a source and a lake into which it was ingested in three micro-batches; tests use copies of the lake."""
    source, lake = tmp_path_factory.mktemp("images"), new_lake()
    for number in range(3):
        put_all(source, photos(f"Fig {number}", range(2)))
        put(source / f"Fig {number}" / "bad.jpg", GARBAGE)
        ingest(str(source), str(lake), ONCE)
    return source, lake


@pytest.fixture
def ingested(template: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Lake]:
    """Return the source with one more image, and a copy of the lake."""
    source, lake = template
    put(source / "New" / f"{len(list(source.rglob('*.jpg')))}.jpg", jpeg(9))
    return source, Lake.at(str(shutil.copytree(lake, tmp_path / "lake")))


def assert_run_ingests_rest(source: Path, lake: Lake) -> None:
    ingest(str(source), lake.root, ONCE)
    names = sorted(str(file.relative_to(source)) for file in source.rglob("*.jpg"))
    assert below(source, lake.features) == [name for name in names if "bad" not in name]
    assert below(source, lake.quarantine) == [name for name in names if "bad" in name]


@pytest.mark.parametrize("checksum", ["kept", "deleted"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_damaged_checkpoint_file_loses_no_row(
    ingested: tuple[Path, Lake], name: str, damage: Callable[[Path], None], checksum: str
) -> None:
    file = local_path(ingested[1].for_manifests().checkpoint) / name
    damage(file)
    if checksum == "deleted":
        (file.parent / f".{file.name}.crc").unlink()
    assert_run_ingests_rest(*ingested)


@pytest.mark.parametrize("name", FOLDERS, ids=lambda name: name or "all")
def test_missing_checkpoint_folder_loses_no_row(ingested: tuple[Path, Lake], name: str) -> None:
    shutil.rmtree(local_path(ingested[1].for_manifests().checkpoint) / name)
    assert_run_ingests_rest(*ingested)
