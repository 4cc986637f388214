"""A long list of images in parts: the next ones are computed while a finished one is committed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from streaming.commit import BatchId
from streaming.errors import DeliveryError
from streaming.failure_rate import FailureRate
from streaming.microbatch import MicroBatch
from streaming.results import BatchResult, Computed
from streaming.storage import StoredFile

# A core that has no more of one part to do begins with the next; a GPU belongs to one process.
_COMPUTED_AT_ONCE = {"cpu": 2, "cuda": 1}
_POLL = 0.1  # seconds between two looks at the flag
_JOBS = "pomona: featurizing"


class Stopped(Exception):
    """A stop was asked for before all was done; the rest comes again."""


class Overlap:
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
        # Kept from one micro-batch to the next: each thread has a connection and a thread of its own in the JVM.
        self._at_once = _COMPUTED_AT_ONCE[batch.featurizer.device]
        self._computing = ThreadPoolExecutor(self._at_once, "computing")
        self._committing = ThreadPoolExecutor(1, "committing")

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._computing.shutdown()
        self._committing.shutdown()

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
        DeliveryError
            Too many images of a part, and of those before it, have failed.
        """
        last = self._computed_at = time.monotonic()
        left = False

        def begin(part: int, start: int) -> Future[BatchResult]:
            computed = self._computing.submit(self._compute, files[start : start + self._size])
            return self._committing.submit(self._commit, computed, replace(key, part=part))

        parts = enumerate(range(0, len(files), self._size))
        under_way = deque(begin(*part) for part in islice(parts, self._at_once + 1))
        try:
            while under_way:
                try:
                    result = self._patiently(under_way.popleft())
                except Stopped:
                    left = True
                    continue
                now = time.monotonic()
                yield replace(result, seconds=now - last)
                last = now
                if not self._stopped():
                    under_way.extend(begin(*part) for part in islice(parts, 1))
        finally:
            wait(under_way)  # after a fault, too, nothing goes on behind the caller's back
        if left or next(parts, None):
            raise Stopped

    def _patiently(self, commit: Future[BatchResult]) -> BatchResult:
        """Wait for a commit; once a stop is asked for, have Spark give up what is being computed."""
        while not wait([commit], timeout=_POLL).done:
            if self._stopped():
                self._batch.spark.sparkContext.cancelJobGroup(_JOBS)
        return commit.result()

    def _compute(self, files: Sequence[StoredFile]) -> Computed:
        context = self._batch.spark.sparkContext
        context.setJobGroup(_JOBS, "featurize images")
        # A pool of their own takes jobs in their order; Spark's default one would finish all parts at the end.
        context.setLocalProperty("spark.scheduler.pool", "computing")
        return self._batch.compute(files)

    def _commit(self, computing: Future[Computed], key: BatchId) -> BatchResult:
        try:
            computed = computing.result()
        except (PySparkException, Py4JError) as error:
            raise (Stopped() if self._stopped() else error) from error
        now = time.monotonic()
        computed.seconds = now - self._computed_at  # not what it took beside another part
        self._computed_at = now
        try:
            self._rate.judge(computed)
        except DeliveryError:
            computed.release()
            raise
        result = self._batch.commit(computed, key)
        self._committing.submit(self._batch.prepare)  # after this one has been told of
        return result
