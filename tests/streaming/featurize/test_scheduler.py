"""Tests for `streaming.featurize.scheduler`.

Parts are computed concurrently, committed in order, and canceled on a stop.
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
from streaming.featurize.scheduler import PartScheduler
from streaming.featurize.stopping import StopRequested
from streaming.storage.interface import StoredFile

FILES = [StoredFile(f"file:/x/{number}.jpg", 1, 0) for number in range(10)]
KEY = BatchId("query", 3)


class FakeContext:
    """The part of a SparkContext that the scheduler uses; records the canceled job groups."""

    def __init__(self) -> None:
        self.canceled = threading.Event()
        self.canceled_groups: list[str] = []
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
        self.canceled.set()

    def cancelJobGroup(self, group: str) -> None:
        self.canceled_groups.append(group)
        self.canceled.set()

    def statusTracker(self) -> FakeContext:
        return self

    def getJobIdsForGroup(self, group: str) -> list[int]:
        return [1] if group in self.groups else []

    def run_job(self) -> None:
        self.groups.append(self._thread.group)


class FakeMicroBatch:
    """Records the parts that are computed and committed; calls `computing` with the first file number of each part."""

    device = "cpu"

    def __init__(self, computing: Callable[[int], None] = lambda first: None) -> None:
        self.events: list[str] = []
        self.keys: list[BatchId] = []
        self._computing = computing
        self.context = FakeContext()

    @property
    def spark(self) -> Any:
        return self

    @property
    def featurizer(self) -> Any:
        return self

    @property
    def sparkContext(self) -> FakeContext:
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
        return BatchResult(key, time.time() - computed.started, skipped=len(computed.files))


def scheduler(
    batch: FakeMicroBatch, stopped: Callable[[], bool] = lambda: False, size: int = 2
) -> PartScheduler:
    return PartScheduler(batch, size, stopped, FailureRate(0.5))  # type: ignore[arg-type]


def test_parts_are_committed_in_order_with_one_batch_id() -> None:
    batch = FakeMicroBatch(lambda first: time.sleep(0.02 if first % 4 else 0))
    results = list(scheduler(batch, size=3).process(FILES, KEY))
    assert [event for event in batch.events if "commit" in event] == [
        f"commit {first}" for first in (0, 3, 6, 8, 9)
    ]
    assert [(key.query, key.number, key.part) for key in batch.keys] == [
        ("query", 3, part) for part in range(5)
    ]
    assert [result.skipped for result in results] == [3, 3, 2, 1, 1]  # the last parts are smaller
    assert [result.skipped for result in scheduler(batch, size=100).process(FILES, KEY)] == [10]
    assert list(scheduler(batch).process([], KEY)) == []


def test_two_parts_are_computed_concurrently() -> None:
    barrier = threading.Barrier(2, timeout=10)
    batch = FakeMicroBatch(lambda first: barrier.wait() and None if first in (0, 2) else None)
    assert len(list(scheduler(batch).process(FILES[:4], KEY))) == 3


def test_two_states_of_an_image_are_not_in_two_parts() -> None:
    earlier = StoredFile(FILES[0].path, 2, 1)
    batch = FakeMicroBatch()
    results = list(scheduler(batch).process([earlier, *FILES[1:4], FILES[0]], KEY))
    assert [result.skipped for result in results] == [2, 1, 1]
    assert batch.events[0] == "compute 0"


def test_parts_are_submitted_to_spark_in_order() -> None:
    batch = FakeMicroBatch()
    add_job_tag = batch.context.addJobTag

    def add_first_tag_slowly(tag: str) -> None:
        add_job_tag(tag)
        if not batch.events:
            time.sleep(0.2)  # the second part would be submitted first if it did not wait

    batch.context.addJobTag = add_first_tag_slowly  # type: ignore[method-assign]
    assert len(list(scheduler(batch).process(FILES[:4], KEY))) == 3
    assert [event for event in batch.events if "compute" in event][:2] == ["compute 0", "compute 2"]


def test_prefetched_part_is_used() -> None:
    started = threading.Event()
    batch = FakeMicroBatch(lambda first: started.set())
    pipelined = scheduler(batch, size=4)
    pipelined.prefetch(FILES[3:9])
    assert started.wait(10)
    results = list(pipelined.process(FILES[1:], KEY))
    assert [result.skipped for result in results] == [4, 3, 1, 1]
    assert [event for event in batch.events if "compute" in event][:2] == ["compute 3", "compute 1"]
    assert batch.keys[0].part == 0
    assert not batch.context.canceled_groups


def test_unused_prefetched_part_is_canceled() -> None:
    batch = FakeMicroBatch(lambda first: None)
    for reason in ("other files", "close"):
        pipelined = scheduler(batch, size=4)
        pipelined.prefetch(FILES[:3])
        if reason == "other files":
            assert [result.skipped for result in pipelined.process(FILES[1:5], KEY)] == [4]
        pipelined.close()
    assert len(batch.context.canceled_groups) == 2
    assert "commit 0" not in batch.events


def test_gpu_computes_one_part_at_a_time() -> None:
    running: list[int] = []

    def computing(first: int) -> None:
        running.append(first)
        time.sleep(0.02)
        assert running == [first]
        running.remove(first)

    batch = FakeMicroBatch(computing)
    batch.device = "cuda"
    assert len(list(scheduler(batch).process(FILES, KEY))) == 6


def test_at_most_two_parts_are_computed_ahead_of_commits() -> None:
    batch = FakeMicroBatch()
    for number, _ in enumerate(scheduler(batch).process(FILES, KEY)):
        computed = sum("compute" in event for event in batch.events)
        assert computed <= number + 3


@pytest.mark.slow
def test_seconds_of_results_sum_to_elapsed_time() -> None:
    batch = FakeMicroBatch(lambda first: time.sleep(0.2))
    started = time.monotonic()
    results = list(scheduler(batch).process(FILES, KEY))
    elapsed = time.monotonic() - started
    assert sum(result.seconds for result in results) == pytest.approx(elapsed, abs=0.05)


def test_stop_cancels_running_parts() -> None:
    stop = threading.Event()

    def computing(first: int) -> None:
        if first:
            assert batch.context.canceled.wait(10)
            raise PySparkException("canceled")

    batch = FakeMicroBatch(computing)
    results = []
    with pytest.raises(StopRequested):
        for result in scheduler(batch, stop.is_set).process(FILES, KEY):
            results.append(result)
            stop.set()
    assert [event for event in batch.events if "commit" in event] == ["commit 0"]
    assert len(results) == 1


def test_stop_after_last_part_raises_nothing() -> None:
    stop = threading.Event()
    results = []
    for result in scheduler(FakeMicroBatch(), stop.is_set, size=10).process(FILES, KEY):
        results.append(result)
        stop.set()
    assert len(results) == 1


def test_error_ends_processing_after_finished_parts_are_committed() -> None:
    def computing(first: int) -> None:
        if first == 2:
            raise PySparkException("broken")

    batch = FakeMicroBatch(computing)
    with pytest.raises(PySparkException, match="broken"):
        list(scheduler(batch).process(FILES, KEY))
    assert "commit 0" in batch.events
    assert "commit 2" not in batch.events
