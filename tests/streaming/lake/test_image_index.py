"""Tests for `streaming.lake.image_index`."""

from __future__ import annotations

import errno
import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from streaming.lake import image_index as module
from streaming.lake.image_index import ImageIndex, contains_hashes
from streaming.lake.layout import Lake
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile
from support.faults.failing_listing import fail_listing
from support.lakes.small_lakes import put, put_all
from support.lakes.table_rows import add_features, add_quarantine

AT = datetime(2026, 3, 3, tzinfo=UTC)


def empty_index() -> ImageIndex:
    empty = np.empty(0, np.uint64)
    return ImageIndex(empty, empty)


def files(*names: str, length: int = 5, modified_ms: int = 1_700_000_000_123) -> list[StoredFile]:
    return [StoredFile(f"file:/x/{name}.jpg", length, modified_ms) for name in names]


@pytest.mark.spark
def test_new_or_changed_returns_only_missing_images_and_other_lengths_or_times(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    lake = Lake.at(str(new_lake()))
    names = ("good", "bad", "longer", "later", "Crème brûlée")
    contents = {f"Fig 50% +/{name}.jpg": b"12345" for name in names}
    good, bad, longer, later, accents = put_all(tmp_path, contents)
    add_features(spark, lake, [good, longer, accents], AT)
    add_quarantine(spark, lake, [bad, later], AT)
    new = put(tmp_path / "Fig 50% +" / "new.jpg", b"")
    put(tmp_path / "Fig 50% +" / ".hidden.jpg", b"12345")
    at = longer.modified_ms / 1000
    longer = put(tmp_path / "Fig 50% +" / "longer.jpg", b"123456", written=at)
    later = put(tmp_path / "Fig 50% +" / "later.jpg", b"12345", written=at + 1)

    index = ImageIndex.load(lake)
    found = index.new_or_changed(Source.at(str(tmp_path)).images())
    assert sorted(found, key=lambda file: file.path) == [later, longer, new]
    everything = [good, bad, longer, later, accents, new]
    assert index.filter_known(everything) == everything[:-1]
    assert not index.has_duplicates
    add_features(spark, lake, [bad], AT)
    assert ImageIndex.load(lake).has_duplicates


def test_index_without_lake_is_empty(tmp_path: Path) -> None:
    index = ImageIndex.load(Lake.at(str(tmp_path)))
    one = files("a")
    assert list(index.new_or_changed(one)) == one
    assert index.filter_known(one) == []
    assert list(index.new_or_changed([])) == index.filter_known([]) == []


def test_index_is_complete_although_a_listing_of_the_log_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.at(str(tmp_path))
    for location in (lake.features, lake.quarantine):
        (file,) = files(location[-3:])
        columns = {"path": [file.path], "length": [file.length], "modification_time": [AT]}
        write_deltalake(location, pa.table(columns))
    fail_listing(monkeypatch, tmp_path / "features" / "_delta_log", errno.EIO, times=1)
    assert len(ImageIndex.load(lake).filter_known(files("res", "ine", "new"))) == 2


def test_added_file_is_known_in_its_latest_state() -> None:
    index = empty_index()
    index.add(files("a", "b"))
    assert index.filter_known(files("a", "b", "c")) == files("a", "b")
    changed = files("a", length=6)
    assert list(index.new_or_changed([*changed, *files("b")])) == changed
    index.add(changed)
    assert list(index.new_or_changed([*changed, *files("a")])) == files("a")


def test_reader_sees_one_state_of_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECENT", 10)
    index, known = empty_index(), files(*"abcdefgh")
    index.add(known)
    states_of = ImageIndex._states_of

    def add_while_reading(index: ImageIndex, paths: module.Hashes) -> Iterator[int | None]:
        states = states_of(index, paths)
        yield next(states)
        index.add(files(*map(str, range(20))))
        yield from states

    monkeypatch.setattr(ImageIndex, "_states_of", add_while_reading)
    assert index.filter_known(known) == known


def test_reader_is_right_while_another_thread_adds_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECENT", 10)
    index, known = empty_index(), files(*map(str, range(200)))
    index.add(known)
    stopped = threading.Event()

    def add() -> None:
        for number in itertools.count():
            if stopped.is_set():
                return
            index.add(files(*(f"{number} {i}" for i in range(11))))

    adding = threading.Thread(target=add)
    adding.start()
    try:
        for _ in range(100):
            assert index.filter_known(known) == known
    finally:
        stopped.set()
        adding.join()


def test_invalidated_path_is_known_and_changed_until_it_is_added_or_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RECENT", 3)
    index, both = empty_index(), files("a", "b")
    index.add(files("a"))
    index.invalidate([file.path for file in both])
    for _ in range(2):
        assert index.filter_known(both) == both
        assert list(index.backlog(both)) == [(file, True) for file in both]
        index.add(files("c", "d", "e"))  # merged into the arrays
    index.add(files("a"))
    index.remove([both[1].path])
    assert index.filter_known(both) == files("a")
    assert list(index.backlog(both)) == [(both[1], False)]


def test_many_added_files_are_merged_into_sorted_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECENT", 10)
    index = empty_index()
    for start in range(0, 100, 7):
        index.add(files(*map(str, range(start, min(start + 7, 100)))))
    for number in (3, 50, 98):
        index.add(files(str(number), length=number + 100))
    everything = files(*map(str, range(110)))
    missing = [file.path for file in index.new_or_changed(everything)]
    assert missing == [f"file:/x/{i}.jpg" for i in (3, 50, 98, *range(100, 110))]


def test_exchanged_length_and_time_is_another_state() -> None:
    index = empty_index()
    index.add(files("a", length=5, modified_ms=7))
    other = files("a", length=7, modified_ms=5)
    assert list(index.new_or_changed(other)) == other


@pytest.mark.parametrize("known", [[], [7], [0, 3, 3, 9, 2**64 - 1]])
def test_contains_hashes_is_the_same_as_isin(known: list[int]) -> None:
    hashes = np.array([3, 0, 9, 10, 2**64 - 1, 7, 3], np.uint64)
    listed = np.array(known, np.uint64)
    assert contains_hashes(listed, hashes).tolist() == np.isin(hashes, listed).tolist()
    assert contains_hashes(listed, hashes[:0]).tolist() == []
