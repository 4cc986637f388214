"""Process a long list of images in parts: compute the next parts while a finished part is committed."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from streaming.delta.writer import BatchId
from streaming.errors import FailureRateExceeded
from streaming.featurize.failure_rate import FailureRate
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult, ComputedPart
from streaming.storage.interface import StoredFile

# A core that has no more of one part to do begins with the next; a GPU belongs to one process.
_COMPUTED_AT_ONCE = {"cpu": 2, "cuda": 1}
# A long list ends in ever smaller parts, down to a fourth: when its last image is computed, few are left to commit.
_SMALLEST = 4
_POLL = 0.1  # seconds between two looks at the flag
_TAG = "pomona-featurizing"  # of all jobs that compute


class StopRequested(Exception):
    """A stop was asked for before all was done; the rest comes again."""


@dataclass(frozen=True)
class _Part:
    """Images that are being computed, and the name of the group of Spark's jobs that do it."""

    files: Sequence[StoredFile]
    jobs: str
    computed: Future[ComputedPart]


class PartScheduler:
    """Brings lists of files into a lake part by part.

    Parameters
    ----------
    batch : MicroBatch
    size : int
        Images of a part.
    stopped : callable
        Once it says yes, what is being computed is given up; what has been computed is committed.
    rate : FailureRate
        Judges each part before its commit.
    """

    def __init__(
        self, batch: MicroBatch, size: int, stopped: Callable[[], bool], rate: FailureRate
    ) -> None:
        self._batch, self._size, self._stopped, self._rate = batch, size, stopped, rate
        self._computed_at = 0.0
        self._ahead: _Part | None = None
        self._latest: _Part | None = None
        self._numbers = itertools.count()
        # Kept from one micro-batch to the next: each thread has a connection and a thread of its own in the JVM.
        self._at_once = _COMPUTED_AT_ONCE[batch.featurizer.device]
        self._computing = ThreadPoolExecutor(self._at_once, "computing")
        self._committing = ThreadPoolExecutor(1, "committing")

    def close(self) -> None:
        """Give up what was computed ahead, wait for what is under way, and end the threads."""
        self._give_up_ahead()
        self._computing.shutdown()
        self._committing.shutdown()

    def ahead(self, files: Sequence[StoredFile]) -> None:
        """Begin with files of which the next list is expected to hold as many as make a part."""
        if files:
            self._computed_at = time.monotonic()
            self._ahead = self._begin(files[: self._size])

    def take(self, files: Sequence[StoredFile], key: BatchId) -> Iterator[BatchResult]:
        """Take files, under the key of the micro-batch that they belong to; committed in their order.

        Yields
        ------
        BatchResult
            One a part, after its commit; its seconds are those since the part before.

        Raises
        ------
        Stopped
            After the commits under way, where something is left.
        FailureRateExceeded
            Too many images of a part, and of those before it, have failed.
        """
        last = time.monotonic()
        left = False
        first, rest = self._taken_ahead(files)
        if not first:
            self._computed_at = last
        cut = self._cut(rest)
        parts = itertools.chain(first, map(self._begin, cut))
        numbers = itertools.count()

        def commits(most: int) -> Iterator[Future[BatchResult]]:
            for part in islice(parts, most):
                numbered = replace(key, part=next(numbers))
                yield self._committing.submit(self._commit, part, numbered)

        under_way = deque(commits(self._at_once + 1))
        try:
            while under_way:
                try:
                    result = self._patiently(under_way.popleft())
                except StopRequested:
                    left = True
                    continue
                now = time.monotonic()
                yield replace(result, seconds=now - last)
                last = now
                if not self._stopped():
                    under_way.extend(commits(1))
        finally:
            wait(under_way)  # after a fault, too, nothing goes on behind the caller's back
        if left or next(cut, None):
            raise StopRequested

    def _cut(self, files: Sequence[StoredFile]) -> Iterator[Sequence[StoredFile]]:
        start, smallest = 0, math.ceil(self._size / _SMALLEST)
        if len(files) <= self._size:
            smallest = self._size
        while start < len(files):
            size = min(self._size, max(smallest, math.ceil((len(files) - start) / 2)))
            yield files[start : start + size]
            start += size

    def _taken_ahead(self, files: Sequence[StoredFile]) -> tuple[list[_Part], Sequence[StoredFile]]:
        """The part that has been begun, where it belongs to the files, and what is left of them."""
        ahead = self._ahead
        if not ahead or not files:
            return [], files
        begun = set(ahead.files)
        if not begun.issubset(files):
            self._give_up_ahead()
            return [], files
        self._ahead = None
        return [ahead], [file for file in files if file not in begun]

    def _begin(self, files: Sequence[StoredFile]) -> _Part:
        jobs = f"{_TAG}-{next(self._numbers)}"
        computed = self._computing.submit(self._compute, files, jobs, self._latest)
        self._latest = _Part(files, jobs, computed)
        return self._latest

    def _give_up_ahead(self) -> None:
        if not self._ahead:
            return
        part, self._ahead = self._ahead, None
        self._batch.spark.sparkContext.cancelJobGroup(part.jobs)
        part.computed.add_done_callback(_release)

    def _patiently(self, commit: Future[BatchResult]) -> BatchResult:
        """Wait for a commit; once a stop is asked for, have Spark give up what is being computed."""
        while not wait([commit], timeout=_POLL).done:
            if self._stopped():
                self._batch.spark.sparkContext.cancelJobsWithTag(_TAG)
        return commit.result()

    def _compute(
        self, files: Sequence[StoredFile], jobs: str, before: _Part | None
    ) -> ComputedPart:
        context = self._batch.spark.sparkContext
        context.addJobTag(_TAG)
        context.setJobGroup(jobs, "featurize images")
        # A pool of their own takes jobs in their order; Spark's default one would finish all parts at the end.
        context.setLocalProperty("spark.scheduler.pool", "computing")
        # That order is the one in which they reach Spark, where two threads would race.
        while before and not before.computed.done() and not self._has_reached_spark(before):
            time.sleep(_POLL)
        return self._batch.compute(files)

    def _has_reached_spark(self, part: _Part) -> bool:
        return bool(self._batch.spark.sparkContext.statusTracker().getJobIdsForGroup(part.jobs))

    def _commit(self, part: _Part, key: BatchId) -> BatchResult:
        try:
            computed = part.computed.result()
        except (PySparkException, Py4JError) as error:
            raise (StopRequested() if self._stopped() else error) from error
        now = time.monotonic()
        computed.seconds = now - self._computed_at  # not what it took beside another part
        self._computed_at = now
        try:
            self._rate.judge(computed)
        except FailureRateExceeded:
            computed.release()
            raise
        result = self._batch.commit(computed, key)
        self._committing.submit(self._batch.prepare)  # after this one has been told of
        return result


def _release(computing: Future[ComputedPart]) -> None:
    """Give back the memory of what nobody will commit."""
    if computing.exception() is None:
        computing.result().release()
