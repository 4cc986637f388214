"""Tests for `streaming.ingest.sweeper`: the stream goes on while a sweep lists the source, and a stop ends a sweep."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streaming.delta.writer import SWEEP
from streaming.featurize.results import BatchResult
from streaming.ingest import sweeper as module
from streaming.ingest.settings import IngestSettings, IngestSummary
from streaming.ingest.sweeper import Sweeper
from streaming.lake.image_index import ImageIndex
from streaming.outcomes import Outcome
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile

FILES = [StoredFile(f"file:/x/{number}.jpg", 1, 0) for number in range(7)]


class Sweep:
    """A sweeper of `FILES` in chunks of 3, without Spark.

    Attributes
    ----------
    on_listed : dict
        Functions that are called before the file of a number is listed.
    processed : list of list of StoredFile
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, mirror: bool = False) -> None:
        # The index compares 10,000 files of a listing at once.
        monkeypatch.setattr("streaming.lake.image_index._CHUNK", 1)
        monkeypatch.setattr(Source, "images", lambda _: self._list())
        monkeypatch.setattr(module, "mirror", self._mirror)
        self.index = ImageIndex(np.empty(0, np.uint64), np.empty(0, np.uint64))
        self.lock, self.stop, self.summary = threading.Lock(), threading.Event(), IngestSummary()
        self.on_listed: dict[int, Any] = {}
        self.processed: list[list[StoredFile]] = []
        self.mirrored: list[int] = []
        self.outcome, self.skips = Outcome.FEATURES, False
        batch: Any = SimpleNamespace(image_index=self.index)
        settings = IngestSettings(mirror=mirror)
        self.sweeper = Sweeper(
            Source("file:/x"),
            batch,
            settings,
            self._process,
            self.summary,
            chunk_size=3,
            processing=self.lock,
            stopped=self.stop.is_set,
        )

    def _list(self) -> Iterator[StoredFile]:
        for number, file in enumerate(FILES):
            assert not self.lock.locked()
            self.on_listed.get(number, lambda: None)()
            yield file

    def _process(self, files: Sequence[StoredFile]) -> list[BatchResult]:
        assert self.lock.locked()
        self.processed.append(list(files))
        if self.outcome is Outcome.FEATURES:
            self.index.add(files)
        skipped = len(files) - 1 if self.skips else 0
        outcomes = Counter({self.outcome: len(files) - skipped})
        result = BatchResult(SWEEP, 1.0, outcomes, skipped=skipped)
        self.summary.add(result)
        return [result]

    def _mirror(self, batch: Any, source: Any, snapshot: Any, limit: float) -> tuple[int, int]:
        assert self.lock.locked()
        self.mirrored.append(snapshot.count)
        return 2, 0


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return Sweep(monkeypatch)


def test_images_are_processed_in_chunks_and_listed_without_the_lock(sweep: Sweep) -> None:
    sweep.summary.waiting = 100
    sweep.sweeper.sweep()
    assert sweep.processed == [FILES[:3], FILES[3:6], FILES[6:]]
    assert sweep.summary.waiting == 0
    assert not sweep.sweeper.is_due


def test_images_that_the_stream_commits_during_the_listing_are_not_processed(sweep: Sweep) -> None:
    sweep.on_listed[2] = lambda: sweep.index.add(FILES[1:5])
    sweep.sweeper.sweep()
    assert sweep.processed == [[FILES[0], FILES[5]], [FILES[6]]]


def test_images_that_could_not_be_written_wait(sweep: Sweep) -> None:
    sweep.outcome = Outcome.CHANGING
    sweep.sweeper.sweep()
    assert sweep.summary.waiting == len(FILES)
    sweep.outcome = Outcome.DELETED
    sweep.sweeper.sweep()
    assert sweep.summary.waiting == 0


def test_images_whose_rows_are_found_in_the_lake_do_not_wait(sweep: Sweep) -> None:
    """The index does not contain them, because a commit before was incomplete."""
    sweep.skips = True
    sweep.sweeper.sweep()
    assert sweep.processed == [FILES[:3], FILES[3:6], FILES[6:]]
    assert sweep.summary.waiting == 0


def test_stop_ends_the_listing_and_deletes_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(monkeypatch, mirror=True)
    sweep.on_listed = {4: sweep.stop.set, 5: lambda: pytest.fail("listed after the stop")}
    sweep.sweeper.sweep()
    assert sweep.processed == [FILES[:3]]
    assert sweep.mirrored == []


def test_rows_of_deleted_images_are_deleted_after_the_complete_listing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = Sweep(monkeypatch, mirror=True)
    sweep.sweeper.sweep()
    assert sweep.mirrored == [len(FILES)]
    assert sweep.summary.removed == 2


def test_waiting_images_are_counted_while_the_stream_goes_on(sweep: Sweep) -> None:
    def commit() -> None:
        with sweep.lock:
            sweep._process(FILES[:2])

    sweep.summary.waiting = 2
    sweep.on_listed[4] = commit
    sweep.sweeper.count_waiting()
    assert sweep.summary.waiting == len(FILES) - 2
    sweep.on_listed = {1: sweep.stop.set}
    sweep.sweeper.count_waiting()
    assert sweep.summary.waiting == len(FILES) - 2
