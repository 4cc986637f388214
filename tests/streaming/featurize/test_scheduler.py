"""Tests for `streaming.featurize.scheduler`.

Parts are computed concurrently, committed in order, and cancelled on a stop.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pyspark.errors import PySparkException

from streaming.delta.writer import BatchId
from streaming.featurize.failure_rate import FailureRate
from streaming.featurize.results import BatchResult, ComputedPart
from streaming.featurize.scheduler import PartScheduler, StopRequested
from streaming.storage.interface import StoredFile

FILES = [StoredFile(f"file:/x/{number}.jpg", 1, 0) for number in range(10)]
KEY = BatchId("query", 3)


class Context:
    """Spark's context, as far as it is asked: which group of jobs is cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.given_up: list[str] = []
        self.groups: list[str] = []
        self._thread = threading.local()

    def addJobTag(self, tag: str) -> None:
        self.tag = tag

    def setJobGroup(self, group: str, description: str) -> None:
        self._thread.group = group

    def setLocalProperty(self, key: str, value: str) -> None:
        self.pool = value

    def cancelJobsWithTag(self, tag: str) -> None:
        assert tag == self.tag
        self.cancelled.set()

    def cancelJobGroup(self, group: str) -> None:
        self.given_up.append(group)
        self.cancelled.set()

    def statusTracker(self) -> Context:
        return self

    def getJobIdsForGroup(self, group: str) -> list[int]:
        return [1] if group in self.groups else []

    def run_job(self) -> None:
        self.groups.append(self._thread.group)


class Recorder:
    """In place of a MicroBatch: remembers what begins and ends, and waits or fails where it is told to."""

    device = "cpu"

    def __init__(self, computing: Callable[[int], None] = lambda first: None) -> None:
        self.events: list[str] = []
        self.keys: list[BatchId] = []
        self._computing = computing
        self.context = Context()

    @property
    def spark(self) -> Any:
        return self

    @property
    def featurizer(self) -> Any:
        return self

    @property
    def sparkContext(self) -> Context:
        return self.context

    def compute(self, files: Sequence[StoredFile]) -> ComputedPart:
        first = FILES.index(files[0])
        self.events.append(f"compute {first}")
        self.context.run_job()
        self._computing(first)
        return ComputedPart(list(files), defaultdict(set), 0)

    def prepare(self) -> None:
        self.events.append("prepare")

    def commit(self, computed: ComputedPart, key: BatchId) -> BatchResult:
        self.events.append(f"commit {FILES.index(computed.files[0])}")
        self.keys.append(key)
        return BatchResult(key, 0.0, skipped=len(computed.files))


def scheduler(
    batch: Recorder, stopped: Callable[[], bool] = lambda: False, size: int = 2
) -> PartScheduler:
    return PartScheduler(batch, size, stopped, FailureRate(0.5))  # type: ignore[arg-type]


def test_parts_are_committed_in_order_with_one_batch_id() -> None:
    batch = Recorder(lambda first: time.sleep(0.02 if first % 4 else 0))
    results = list(scheduler(batch, size=3).process(FILES, KEY))
    assert [event for event in batch.events if "commit" in event] == [
        f"commit {first}" for first in (0, 3, 6, 8, 9)
    ]
    assert [(key.query, key.number, key.part) for key in batch.keys] == [
        ("query", 3, part) for part in range(5)
    ]
    assert [result.skipped for result in results] == [3, 3, 2, 1, 1]  # little is left at the end
    assert [result.skipped for result in scheduler(batch, size=100).process(FILES, KEY)] == [10]
    assert list(scheduler(batch).process([], KEY)) == []


def test_two_parts_are_computed_concurrently() -> None:
    together = threading.Barrier(2, timeout=10)
    batch = Recorder(lambda first: together.wait() and None if first in (0, 2) else None)
    assert len(list(scheduler(batch).process(FILES[:4], KEY))) == 3


def test_parts_are_submitted_to_spark_in_order() -> None:
    batch = Recorder()
    slow = batch.context.addJobTag

    def hesitate(tag: str) -> None:
        slow(tag)
        if not batch.events:
            time.sleep(0.2)  # the first part's thread; the second's would overtake it

    batch.context.addJobTag = hesitate  # type: ignore[method-assign]
    assert len(list(scheduler(batch).process(FILES[:4], KEY))) == 3
    assert [event for event in batch.events if "compute" in event][:2] == ["compute 0", "compute 2"]


def test_prefetched_part_is_used() -> None:
    begun = threading.Event()
    batch = Recorder(lambda first: begun.set())
    pipelined = scheduler(batch, size=4)
    pipelined.prefetch(FILES[3:9])
    assert begun.wait(10)
    results = list(pipelined.process(FILES[1:], KEY))
    assert [result.skipped for result in results] == [4, 3, 1, 1]
    assert [event for event in batch.events if "compute" in event][:2] == ["compute 3", "compute 1"]
    assert batch.keys[0].part == 0
    assert not batch.context.given_up


def test_unused_prefetched_part_is_cancelled() -> None:
    batch = Recorder(lambda first: None)
    for end in ("another list", "the end"):
        pipelined = scheduler(batch, size=4)
        pipelined.prefetch(FILES[:3])
        if end == "another list":
            assert [result.skipped for result in pipelined.process(FILES[1:5], KEY)] == [4]
        pipelined.close()
    assert len(batch.context.given_up) == 2
    assert "commit 0" not in batch.events


def test_gpu_computes_one_part_at_a_time() -> None:
    running: list[int] = []

    def computing(first: int) -> None:
        running.append(first)
        time.sleep(0.02)
        assert running == [first]
        running.remove(first)

    batch = Recorder(computing)
    batch.device = "cuda"
    assert len(list(scheduler(batch).process(FILES, KEY))) == 6


def test_at_most_two_parts_run_ahead_of_commits() -> None:
    batch = Recorder()
    for number, _ in enumerate(scheduler(batch).process(FILES, KEY)):
        begun = sum("compute" in event for event in batch.events)
        assert begun <= number + 3


def test_seconds_of_results_sum_to_elapsed_time() -> None:
    batch = Recorder(lambda first: time.sleep(0.2))
    started = time.monotonic()
    results = list(scheduler(batch).process(FILES, KEY))
    passed = time.monotonic() - started
    assert sum(result.seconds for result in results) == pytest.approx(passed, abs=0.05)


def test_stop_cancels_running_parts() -> None:
    stop = threading.Event()

    def computing(first: int) -> None:
        if first:
            assert batch.context.cancelled.wait(10)
            raise PySparkException("cancelled")

    batch = Recorder(computing)
    done = []
    with pytest.raises(StopRequested):
        for result in scheduler(batch, stop.is_set).process(FILES, KEY):
            done.append(result)
            stop.set()
    assert [event for event in batch.events if "commit" in event] == ["commit 0"]
    assert len(done) == 1


def test_stop_after_last_part_raises_nothing() -> None:
    stop = threading.Event()
    results = []
    for result in scheduler(Recorder(), stop.is_set, size=10).process(FILES, KEY):
        results.append(result)
        stop.set()
    assert len(results) == 1


def test_error_ends_processing_after_finished_parts_are_committed() -> None:
    def computing(first: int) -> None:
        if first == 2:
            raise PySparkException("broken")

    batch = Recorder(computing)
    with pytest.raises(PySparkException, match="broken"):
        list(scheduler(batch).process(FILES, KEY))
    assert "commit 0" in batch.events
    assert "commit 2" not in batch.events
