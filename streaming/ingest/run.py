"""One run of the pipeline: the streaming query, pending files, sweeps, and an orderly shutdown."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql.streaming.query import StreamingQuery

from streaming.delta.writer import SWEEP, BatchId
from streaming.errors import PomonaError
from streaming.featurize.failure_rate import FailureRate
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.featurize.scheduler import PartScheduler, StopRequested
from streaming.images.fetch import is_young
from streaming.ingest.checkpoint import set_aside_if_damaged
from streaming.ingest.request_handler import RequestHandler
from streaming.ingest.settings import (
    IMAGES_PER_PART_PER_CORE,
    IMAGES_PER_TRIGGER_PER_CORE,
    BatchCallback,
    IngestSettings,
    IngestSummary,
)
from streaming.lease.holder import Lease
from streaming.maintenance.context import OperationContext
from streaming.maintenance.mirror import mirror
from streaming.maintenance.missing_images import ListingSnapshot
from streaming.outcomes import Outcome
from streaming.sources.listing import Source
from streaming.spark.errors import translate_exception
from streaming.spark.s3a_metrics import retries_on_driver
from streaming.storage.interface import StoredFile, TransientError
from streaming.storage.open import open_storage

_POLL = 0.1  # seconds between two looks at the flag
# Seconds, beyond the time to settle, for which --once waits for files being written.
_SETTLE_TIMEOUT = 30.0


class Run:
    """The stream delivers new files, the main thread takes what the stream does not deliver, never both at once."""

    def __init__(
        self,
        source: Source,
        batch: MicroBatch,
        settings: IngestSettings,
        watch: BatchCallback,
        lease: Lease | None = None,
    ) -> None:
        self.summary = IngestSummary()
        self._source, self._batch, self._settings, self._watch = source, batch, settings, watch
        context = OperationContext(
            batch.lake,
            batch.spark,
            source,
            lambda: batch,
            lambda _, files: self._take(files),
            batch.known,
        )
        self._lease, self._errands = lease, RequestHandler(context, lease)
        self._stop, self._ending = threading.Event(), False
        self._one_at_a_time = threading.Lock()
        cores = batch.spark.sparkContext.defaultParallelism
        self._size = settings.max_files_per_trigger or IMAGES_PER_TRIGGER_PER_CORE * cores
        size, rate = (
            min(self._size, IMAGES_PER_PART_PER_CORE * cores),
            FailureRate(settings.max_failure_rate),
        )
        self._overlap = PartScheduler(batch, size, self._stopped, rate)
        self._later: dict[str, float] = {}  # path: when to look again
        self._changing: set[str] = set()  # those of them that have no row yet
        self._query_id = ""
        self._delivered: int | None = None  # files in the stream's last micro-batch
        self._fault: BaseException | None = None

    def until(self, stop: threading.Event) -> IngestSummary:
        """Run until the source is exhausted (`once`) or `stop` is set.

        Raises
        ------
        PomonaError
            When a micro-batch failed; what it had committed stands.
        """
        started = time.monotonic()
        self._stop = stop
        spark, roots = self._batch.spark, (self._source.root, self._batch.lake.root)
        before = retries_on_driver(spark, roots)
        new = self._batch.known.missing_or_changed(self._source.images())
        first = self._count_waiting(new)
        self.summary.first_trigger_at = time.time()
        # Beside the seconds in which Spark starts the stream and names them.
        self._overlap.ahead(first)
        try:
            with self._errands.watched(stop):
                error = self._stream(stop)
                if error and set_aside_if_damaged(self._batch.lake, error):
                    self._ending = False
                    error = self._stream(stop)
        finally:
            self._overlap.close()
        if self._lease and self._lease.lost:
            raise self._lease.lost
        self._fault = self._fault or error
        if self._fault:
            raise translate_exception(self._fault, self._batch.lake.root) from self._fault
        self.summary.seconds = time.monotonic() - started
        self.summary.retries += retries_on_driver(spark, roots) - before
        return self.summary

    def _count_waiting(self, files: Iterable[StoredFile]) -> list[StoredFile]:
        """Count them all; keep those with which the stream will begin, the oldest."""
        counted = (file for self.summary.waiting, file in enumerate(files, 1))
        return heapq.nsmallest(self._size, counted, key=lambda file: file.modified_ms)

    def _stream(self, stop: threading.Event) -> BaseException | None:
        """Run the query to its end, and tell what ended it, if not we did."""
        try:
            query = self._start()
        except (PySparkException, Py4JError) as fault:
            return fault
        try:
            (self._drain if self._settings.once else self._follow)(query, stop)
        finally:
            self._end(query)
        error: BaseException | None = query.exception()
        return None if self._fault or StopRequested.__name__ in str(error) else error

    def _start(self) -> StreamingQuery:
        stream = self._source.stream(self._batch.spark, self._size)
        writer = stream.writeStream.foreachBatch(self._on_micro_batch).option(
            "checkpointLocation", self._batch.lake.checkpoint
        )
        if self._settings.once:
            writer = writer.trigger(availableNow=True)
        else:
            writer = writer.trigger(processingTime=f"{self._settings.trigger} seconds")
        with self._one_at_a_time:  # the first micro-batch waits for the query's id
            query = writer.start()
            self._query_id = query.id
        return query

    def _on_micro_batch(self, names: DataFrame, number: int) -> None:
        with self._one_at_a_time:
            if self._stopped():
                raise StopRequested
            try:
                listed = [StoredFile(*row) for row in names.collect()]
                files = [file for file in listed if self._source.is_image(file.path)]
                self._take(files, BatchId(self._query_id, number))
            except (PomonaError, TransientError, PySparkException, Py4JError, OSError) as error:
                self._fault = error  # Spark hands on a text with every stack in it
                raise
            self._delivered = len(listed)

    def _take(self, files: Sequence[StoredFile], batch: BatchId = SWEEP) -> list[BatchResult]:
        """Featurize the files; those that may still be written to are looked at again."""
        settle = self._settings.settle
        for file in files:
            if is_young(file, settle):
                self._later[file.path] = file.modified_ms / 1000 + settle
        results = []
        for result in self._overlap.take(files, batch):
            self._account(result)
            results.append(result)
        unread = [why for result in results for why in result.unread]
        if unread:  # the others have their rows
            more = f" (and {len(unread) - 1:,} other images)" if unread[1:] else ""
            raise TransientError(unread[0] + more)
        return results

    def _stopped(self) -> bool:
        return self._stop.is_set() or self._ending

    def _account(self, result: BatchResult) -> None:
        again = time.time() + self._settings.settle
        self._later |= dict.fromkeys(result.changing, again)
        self._changing |= set(result.changing)
        self.summary.add(result)
        self._watch(result, self.summary)

    def _take_ripe(self) -> None:
        """Look again at files that were young or changing, and take those that are not as they were."""
        with self._one_at_a_time:
            files = []
            for path in [path for path, at in self._later.items() if at <= time.time()]:
                del self._later[path]
                self._changing.discard(path)
                try:
                    files.append(open_storage(path).stat(path))
                except FileNotFoundError:
                    self.summary.outcomes[Outcome.DELETED] += 1
            with suppress(StopRequested):
                self._take(list(self._batch.known.missing_or_changed(files)))

    def _sweep(self) -> None:
        """Take what the stream passes over: empty, replaced and long-dated files."""
        with self._one_at_a_time:
            seen, listing = ListingSnapshot(), self._source.images()
            if self._settings.mirror:
                listing = seen.watch(listing)
            found = list(self._batch.known.missing_or_changed(listing))
            self.summary.waiting = len(found)
            self.summary.ignored = self._source.ignored.total
            with suppress(StopRequested):
                self._take(found)
                if self._settings.mirror:
                    limit = self._settings.remove_limit
                    removed, kept = mirror(self._batch, self._source, seen, limit)
                    self.summary.removed += removed
                    self.summary.skipped_deletions = kept

    def _drain(self, query: StreamingQuery, stop: threading.Event) -> None:
        """Let the stream run out, then sweep, then wait for files that are being written."""
        while query.isActive and not stop.wait(_POLL):
            self._errands.carry_out(self._one_at_a_time)
        if not self._fault and not stop.is_set():
            self._sweep()
        until = time.monotonic() + self._settings.settle + _SETTLE_TIMEOUT
        while self._later and not self._fault and time.monotonic() < until and not stop.wait(_POLL):
            self._take_ripe()

    def _follow(self, query: StreamingQuery, stop: threading.Event) -> None:
        """Sweep when it is time and the stream has caught up; take what was too young; until asked to stop."""
        sweep_at = time.monotonic()
        while query.isActive and not stop.wait(_POLL):
            self._errands.carry_out(self._one_at_a_time)
            if self._later:
                self._take_ripe()
            if time.monotonic() >= sweep_at and self._caught_up(query):
                self._sweep()
                sweep_at = time.monotonic() + self._settings.sweep_every

    def _caught_up(self, query: StreamingQuery) -> bool:
        if self._delivered is None:
            return str(query.status["message"]).startswith("Waiting for")
        return self._delivered < self._size

    def _end(self, query: StreamingQuery) -> None:
        """Stop after the micro-batch under way, its commit included: `query.stop()` alone would interrupt it."""
        self._ending = True
        with self._one_at_a_time:
            pass
        until = time.monotonic() + _SETTLE_TIMEOUT
        while query.isActive and query.status["isTriggerActive"] and time.monotonic() < until:
            time.sleep(_POLL)
        query.stop()
        self.summary.waiting = max(self.summary.waiting, len(self._changing))
