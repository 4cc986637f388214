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
from streaming.featurize.stopping import StopRequested
from streaming.storage.interface import StoredFile, unique_paths

# A core that has finished its tasks of one part starts with the next part; a GPU is used by one process at a time.
_CONCURRENT_PARTS = {"cpu": 2, "cuda": 1}
# Parts shrink towards the end of a long list, down to a quarter, so that few images are left to commit last.
_MIN_PART_DIVISOR = 4
_POLL = 0.1  # seconds between two checks of the stop flag
_TAG = "pomona-featurizing"  # on all jobs that compute features


@dataclass(frozen=True)
class _Part:
    """Images that are being computed, and the Spark job group that computes them."""

    files: Sequence[StoredFile]
    jobs: str
    computed: Future[ComputedPart]


class PartScheduler:
    """Processes lists of files part by part: computes the next parts while a finished part is committed.

    Parameters
    ----------
    batch : MicroBatch
    size : int
        Images per part.
    stopped : callable
        Once it returns True, running computations are canceled, and finished ones are committed.
    rate : FailureRate
        Checks each part before its commit.
    """

    def __init__(
        self, batch: MicroBatch, size: int, stopped: Callable[[], bool], rate: FailureRate
    ) -> None:
        self._batch, self._size, self._stopped, self._rate = batch, size, stopped, rate
        self._started = 0.0  # of the part that is committed next, in seconds since 1970
        self._prefetched: _Part | None = None
        self._latest: _Part | None = None
        self._numbers = itertools.count()
        # Kept from one micro-batch to the next: each thread has a connection and a thread of its own in the JVM.
        self._concurrent = _CONCURRENT_PARTS[batch.featurizer.device]
        self._computing = ThreadPoolExecutor(self._concurrent, "computing")
        self._committing = ThreadPoolExecutor(1, "committing")

    def close(self) -> None:
        """Cancel the prefetched part, wait for running work, and end the threads."""
        self._cancel_prefetched()
        self._computing.shutdown()
        self._committing.shutdown()

    def prefetch(self, files: Sequence[StoredFile]) -> None:
        """Start computing one part of files that the next call of `process` is expected to contain."""
        if files:
            self._prefetched = self._submit(files[: self._size])

    def process(self, files: Sequence[StoredFile], batch_id: BatchId) -> Iterator[BatchResult]:
        """Featurize and commit files, in their order, as parts of the micro-batch `batch_id`.

        Yields
        ------
        BatchResult
            One per part, after its commit.

        Raises
        ------
        StopRequested
            After the running commits, if images are left.
        FailureRateExceeded
            If too many images of a part, and of those before it, have failed.
        """
        self._started = time.time()
        skipped = False
        # In two parts that are computed concurrently, two states of an image would both be new.
        first, rest = self._take_prefetched(unique_paths(files))
        remaining = self._split(rest)
        parts = itertools.chain(first, map(self._submit, remaining))
        numbers = itertools.count()

        def commits(most: int) -> Iterator[Future[BatchResult]]:
            for part in islice(parts, most):
                numbered = replace(batch_id, part=next(numbers))
                yield self._committing.submit(self._commit, part, numbered)

        running = deque(commits(self._concurrent + 1))
        try:
            while running:
                try:
                    result = self._await_commit(running.popleft())
                except StopRequested:
                    skipped = True
                    continue
                yield result
                if not self._stopped():
                    running.extend(commits(1))
        finally:
            wait(running)  # after an error, too, nothing continues in the background
        if skipped or next(remaining, None):
            raise StopRequested

    def _split(self, files: Sequence[StoredFile]) -> Iterator[Sequence[StoredFile]]:
        start, smallest = 0, math.ceil(self._size / _MIN_PART_DIVISOR)
        if len(files) <= self._size:
            smallest = self._size
        while start < len(files):
            size = min(self._size, max(smallest, math.ceil((len(files) - start) / 2)))
            yield files[start : start + size]
            start += size

    def _take_prefetched(
        self, files: Sequence[StoredFile]
    ) -> tuple[list[_Part], Sequence[StoredFile]]:
        """Return the prefetched part if all its files are among `files`, and the remaining files."""
        prefetched = self._prefetched
        if not prefetched or not files:
            return [], files
        started = set(prefetched.files)
        if not started.issubset(files):
            self._cancel_prefetched()
            return [], files
        self._prefetched = None
        return [prefetched], [file for file in files if file not in started]

    def _submit(self, files: Sequence[StoredFile]) -> _Part:
        jobs = f"{_TAG}-{next(self._numbers)}"
        computed = self._computing.submit(self._compute, files, jobs, self._latest)
        self._latest = _Part(files, jobs, computed)
        return self._latest

    def _cancel_prefetched(self) -> None:
        if not self._prefetched:
            return
        part, self._prefetched = self._prefetched, None
        self._batch.spark.sparkContext.cancelJobGroup(part.jobs)
        part.computed.add_done_callback(_release)

    def _await_commit(self, commit: Future[BatchResult]) -> BatchResult:
        """Wait for a commit; once a stop is requested, cancel the running computations."""
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
        # A FIFO pool of their own runs jobs in order; with Spark's default pool all parts would finish at the end.
        context.setLocalProperty("spark.scheduler.pool", "computing")
        # Spark orders jobs by arrival; without the wait, the two threads would race.
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
        computed.started = self._started
        try:
            self._rate.check(computed)
        except FailureRateExceeded:
            computed.release()
            raise
        result = self._batch.commit(computed, key)
        self._started += result.seconds
        self._committing.submit(self._batch.prepare)  # after this result is reported
        return result


def _release(computing: Future[ComputedPart]) -> None:
    """Free the cached rows of a part that will not be committed."""
    if computing.exception() is None:
        computing.result().release()
