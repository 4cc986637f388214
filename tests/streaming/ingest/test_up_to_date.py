"""Tests for `streaming.ingest.up_to_date`: Spark is not started only if there is nothing to do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streaming.delta.tables import Table
from streaming.ingest.up_to_date import is_up_to_date
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from streaming.maintenance.requests import Request, submit
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile
from support.lakes.refits_without_spark import append
from support.lakes.small_lakes import GARBAGE, jpeg, put, put_all
from support.lakes.table_rows import features_row, quarantine_row

AT = datetime(2026, 3, 3, tzinfo=UTC)
WIDTH = 4


class Folders:
    """A source of two images, one of them in `features` and one in `quarantine`, and its lake."""

    def __init__(self, folder: Path) -> None:
        self.source, self.lake = Source(f"file:{folder}/source"), Lake(f"file:{folder}/lake")
        self.folder = folder / "source"
        self.good = put(self.folder / "Fig" / "good.jpg", jpeg())
        self.bad = put(self.folder / "Fig" / "bad.jpg", GARBAGE)
        self.append(features_table(WIDTH), [features_row(self.good, AT, WIDTH)])
        self.append(QUARANTINE, [quarantine_row(self.bad, AT)])
        self.append(REFITS, [])

    def append(self, table: Table, rows: list[dict[str, object]]) -> None:
        append(getattr(self.lake, table.name), table, rows)

    def is_up_to_date(self, time_limit: float = 60) -> bool:
        loaded: Future[ImageIndex] = Future()
        loaded.set_result(ImageIndex.load(self.lake))
        return is_up_to_date(self.source, self.lake, loaded, time_limit)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def test_source_is_up_to_date_if_each_image_is_in_a_table(folders: Folders) -> None:
    put_all(folders.folder, {"Fig/notes.txt": b"text", ".hidden/a.jpg": jpeg()})
    assert folders.is_up_to_date()
    assert (folders.source.counts.hidden, folders.source.counts.suffixes) == (1, {".txt": 1})


@pytest.mark.parametrize("name", ["Fig/new.jpg", "Fig/good.jpg", "Fig/bad.jpg"])
def test_new_or_changed_image_is_not_up_to_date(folders: Folders, name: str) -> None:
    put(folders.folder / name, b"")
    assert not folders.is_up_to_date()


def test_deleted_image_is_up_to_date(folders: Folders) -> None:
    (folders.folder / "Fig" / "good.jpg").unlink()
    assert folders.is_up_to_date()


def test_pending_request_is_not_up_to_date(folders: Folders) -> None:
    submit(folders.lake, Request("set_retention"))
    assert not folders.is_up_to_date()


def test_interrupted_move_is_not_up_to_date(folders: Folders) -> None:
    folders.append(QUARANTINE, [quarantine_row(folders.good, AT)])
    assert not folders.is_up_to_date()


@pytest.mark.parametrize("table", ["features", "quarantine", "refits"])
def test_missing_table_is_not_up_to_date(folders: Folders, table: str) -> None:
    location = Path(getattr(folders.lake, table).removeprefix("file:"))
    location.rename(location.with_name("moved"))
    assert not folders.is_up_to_date()


def test_index_that_is_not_loaded_in_time_is_not_up_to_date(folders: Folders) -> None:
    assert not is_up_to_date(folders.source, folders.lake, Future(), time_limit=0.01)


def test_endless_listing_ends_after_the_time_limit(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def images(_: Source) -> Iterator[StoredFile]:
        return itertools.repeat(folders.good)

    monkeypatch.setattr(Source, "images", images)
    assert not folders.is_up_to_date(time_limit=0.2)
