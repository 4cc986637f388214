"""One run of the pipeline: the streaming query, pending files, sweeps, and an orderly shutdown."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql.streaming.query import StreamingQuery

from streaming.counts import format_count
from streaming.delta.writer import SWEEP, BatchId
from streaming.errors import PomonaError
from streaming.featurize.failure_rate import FailureRate
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.featurize.scheduler import PartScheduler
from streaming.featurize.stopping import StopRequested
from streaming.ingest.checkpoint import discard_unusable_checkpoint, remove_checkpoint
from streaming.ingest.cloudwatch import publishing_metrics
from streaming.ingest.discovery import choose_discovery
from streaming.ingest.pending_files import PendingFiles
from streaming.ingest.request_handler import RequestHandler
from streaming.ingest.settings import (
    IMAGES_PER_PART_PER_CORE,
    IMAGES_PER_TRIGGER_PER_CORE,
    BatchCallback,
    IngestSettings,
    IngestSummary,
    Stage,
    StageCallback,
    ignore_stage,
)
from streaming.ingest.sweeper import Sweeper
from streaming.lease.holder import Lease
from streaming.maintenance.context import OperationContext
from streaming.outcomes import Outcome
from streaming.sources.listing import Source
from streaming.spark.errors import NOT_IN_XML, translate_exception, unlistable_keys
from streaming.spark.s3a_metrics import retries_on_driver
from streaming.storage.interface import StoredFile, TransientError
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

_POLL = 0.1  # seconds between two checks of the stop event
_POLL_QUERY = 1.0  # seconds between two checks of the query while the stream waits for images: each is a call of Java
# Seconds, beyond the time to settle, for which --once waits for files being written.
_WAIT_TIMEOUT = 30.0
_MIN_SWEEP_INTERVAL = 1.0  # seconds between two sweeps if Spark cannot list the source
_SHOW_BATCH = 2.0  # seconds from a commit to the stage "watching", so that its report can be read


class StreamingRun:
    """Runs the streaming query until the source is exhausted or a stop is requested.

    The query delivers new files on Spark's callback thread. The main thread processes pending files, sweeps and
    maintenance requests. A lock keeps the two from processing files at the same time.

    Parameters
    ----------
    source : Source
    batch : MicroBatch
    settings : IngestSettings
    on_batch : callable
        Called after each commit with its result and the summary so far.
    lease : Lease, optional
        The lease on the lake. Without one, no maintenance requests are served.
    on_stage : callable, optional
        Called at each change of the stage.
    """

    def __init__(
        self,
        source: Source,
        batch: MicroBatch,
        settings: IngestSettings,
        on_batch: BatchCallback,
        lease: Lease | None = None,
        on_stage: StageCallback = ignore_stage,
    ) -> None:
        self.summary = IngestSummary()
        self._source, self._batch, self._settings = source, batch, settings
        self._on_batch, self._lease, self._on_stage = on_batch, lease, on_stage
        self._stage: tuple[object, ...] = ()
        self._in_lake = 0  # images of the source
        self._requests = RequestHandler(self._operation_context(), lease)
        self._stop_event, self._ending = threading.Event(), False
        self._processing = threading.Lock()
        cores = batch.spark.sparkContext.defaultParallelism
        self._trigger_size = settings.max_files_per_trigger or IMAGES_PER_TRIGGER_PER_CORE * cores
        self._scheduler = PartScheduler(
            batch,
            size=min(self._trigger_size, IMAGES_PER_PART_PER_CORE * cores),
            stopped=self._is_stopping,
            rate=FailureRate(settings.max_failure_rate),
        )
        self._pending = PendingFiles(settings.settle)
        self._sweeper = Sweeper(
            source,
            batch,
            settings,
            self._process,
            self.summary,
            chunk_size=self._trigger_size,
            processing=self._processing,
            stopped=self._has_ended,
        )
        self._trigger_seconds = settings.trigger_seconds(source.root)
        self._discovery = choose_discovery(
            source, batch.lake, settings, self._trigger_size, batch.image_index
        )
        self._query_id = ""
        self._batches = 0  # in the checkpoint
        self._sweeps_only = False  # the images of a source that Spark cannot list
        self._is_recount_due = False  # of the images that wait
        self._sweep_after: int | None = None  # the position of the stream when a sweep became due
        self._error: BaseException | None = None

    def run(self, stop_event: threading.Event) -> IngestSummary:
        """Run until the source is exhausted (`once`) or `stop_event` is set.

        Raises
        ------
        PomonaError
            If a micro-batch failed. Its commits up to then remain.
        """
        started = time.monotonic()
        self._stop_event = stop_event
        spark, roots = self._batch.spark, (self._source.root, self._batch.lake.root)
        retries_before = retries_on_driver(spark, roots)
        self._report(Stage.LIST)
        new = self._batch.image_index.new_or_changed(self._count_images())
        self.summary.waiting, oldest = self._discovery.plan(new)
        self._in_lake -= self.summary.waiting
        self.summary.listing = self._source.counts
        self.summary.first_trigger_at = time.time()
        # Meanwhile Spark starts the query and lists the same files, which takes seconds.
        self._scheduler.prefetch(oldest)
        try:
            with (
                publishing_metrics(self._settings.cloudwatch, self._batch.lake, self.summary),
                self._requests.polling(stop_event),
            ):
                if self._source.counts.not_in_xml:
                    self._continue_with_sweeps(NOT_IN_XML)
                error = self._run_query()
                if error and discard_unusable_checkpoint(self._discovery.lake, error):
                    error = self._run_query()
                while error is None and self._renew_checkpoint():
                    error = self._run_query()
                if error and (keys := unlistable_keys(error, self._source.root)):
                    self._continue_with_sweeps(keys)
                    error = self._run_query()
        finally:
            self._scheduler.close()
        if self._lease and self._lease.lost:
            raise self._lease.lost
        self._error = self._error or error
        if self._error:
            raise translate_exception(self._error, self._batch.lake.root) from self._error
        self._batch.workers_started.result()  # also if there were no images
        self.summary.seconds = time.monotonic() - started
        self.summary.retries += retries_on_driver(spark, roots) - retries_before
        return self.summary

    def _operation_context(self) -> OperationContext:
        return OperationContext(
            self._batch.lake,
            self._batch.spark,
            self._source,
            lambda: self._batch,
            lambda _, files: self._process(files),
            self._batch.image_index,
            let_stream_continue=self._release_processing,
            stopped=self._has_ended,
        )

    @contextmanager
    def _release_processing(self) -> Iterator[None]:
        """Release the lock of the micro-batches, which a request holds, while the block runs."""
        self._processing.release()
        try:
            yield
        finally:
            self._processing.acquire()

    def _report(self, stage: Stage) -> None:
        """Report a stage if it has changed, or if there were micro-batches since."""
        current = (stage, self._in_lake, self.summary.batches)
        if current != self._stage:
            self._stage = current
            self._on_stage(stage, self._in_lake)

    def _count_images(self) -> Iterator[StoredFile]:
        for image in self._discovery.list_all():
            if self._stop_event.is_set():
                return
            self._in_lake += 1
            yield image

    def _run_query(self) -> BaseException | None:
        """Run the query until it ends; return its error unless this run stopped it or recorded one itself.

        If Spark cannot list the source, run without a query.
        """
        self._ending = False
        try:
            query = None if self._sweeps_only else self._start_query()
        except (PySparkException, Py4JError) as error:
            return error
        try:
            if self._settings.once:
                self._drain(query)
            else:
                with self._discovery.watching(self._trigger_seconds):
                    self._follow(query)
        finally:
            self._stop_query(query)
        ended_by: BaseException | None = query.exception() if query else None
        return None if self._error or StopRequested.__name__ in str(ended_by) else ended_by

    def _start_query(self) -> StreamingQuery:
        stream = self._discovery.stream(self._batch.spark)
        writer = stream.writeStream.foreachBatch(self._on_micro_batch).option(
            "checkpointLocation", self._discovery.lake.checkpoint
        )
        if self._settings.once:
            writer = writer.trigger(availableNow=True)
        else:
            writer = writer.trigger(processingTime=f"{self._trigger_seconds} seconds")
        with self._processing:  # the first micro-batch waits for the query's ID
            query = writer.start()
            self._query_id = query.id
        return query

    def _on_micro_batch(self, listing: DataFrame, number: int) -> None:
        with self._processing:
            if self._is_stopping():
                raise StopRequested
            try:
                rows = listing.collect()
                files = self._discovery.deliver(rows)
                if len(rows) >= self._trigger_size:
                    self._recount_waiting(files)
                self._process(files, BatchId(self._query_id, number))
                self._discovery.committed()
            except (PomonaError, TransientError, PySparkException, Py4JError, OSError) as error:
                self._error = error  # Spark only passes on a text with all stack traces
                raise
            self._batches = number + 1

    def _recount_waiting(self, files: Sequence[StoredFile]) -> None:
        """Count all images that wait if the latest listing has not: a full micro-batch is only a part of a delivery."""
        if sum(1 for _ in self._batch.image_index.new_or_changed(files)) <= self.summary.waiting:
            return
        if self._discovery.outstanding is None:
            self._is_recount_due = True  # the main thread lists the source
        else:
            self.summary.waiting = self._discovery.outstanding

    def _process(self, files: Sequence[StoredFile], batch_id: BatchId = SWEEP) -> list[BatchResult]:
        """Featurize and commit the files; remember those that may still be written to.

        Raises
        ------
        TransientError
            If images could not be read. The rows of all others have been committed.
        """
        if files:
            self._report(Stage.PROCESS)
        self._pending.add_recently_modified(files)
        # Quarantined images that are retried are unchanged: they are not among those that wait.
        backlog = sum(1 for _ in self._batch.image_index.new_or_changed(files))
        self.summary.waiting = max(self.summary.waiting, backlog)
        results = []
        for result in self._scheduler.process(files, batch_id):
            self._pending.add_changing(result.changing)
            self.summary.add(result)
            done = min(backlog, result.written + result.outcomes[Outcome.DELETED])
            backlog -= done
            self.summary.waiting -= done
            self._in_lake += result.written - result.replaced
            self._on_batch(result, self.summary)
            results.append(result)
        unread = [detail for result in results for detail in result.unread]
        if unread:
            more = f" (and {format_count(len(unread) - 1, 'other image')})" if unread[1:] else ""
            raise TransientError(unread[0] + more)
        return results

    def _is_stopping(self) -> bool:
        return self._stop_event.is_set() or self._ending

    def _has_ended(self) -> bool:
        return self._is_stopping() or self._error is not None

    def _process_due_files(self) -> None:
        """Check pending files that are due; process those that are new or changed."""
        with self._processing:
            files = []
            for path in self._pending.pop_due():
                try:
                    files.append(open_storage(path).stat(path))
                except FileNotFoundError:
                    self.summary.outcomes[Outcome.DELETED] += 1
                    if not self._batch.image_index.filter_known([StoredFile(path, 0, 0)]):
                        self.summary.waiting = max(0, self.summary.waiting - 1)
                except (PermissionError, TransientError) as error:
                    # The next sweep lists it again.
                    log.warning("%s cannot be checked again: %s", path, error)
            with suppress(StopRequested):
                self._process(list(self._batch.image_index.new_or_changed(files)))

    def _continue_with_sweeps(self, keys: str) -> None:
        """Find the images with sweeps only, at the interval of the stream; `keys` is why Spark cannot list them."""
        self._sweeps_only = True
        self._sweeper.interval = max(self._trigger_seconds, _MIN_SWEEP_INTERVAL)
        if not self._source.counts.not_in_xml:  # a key that arrived during the run is named
            deque(self._source.images(), maxlen=0)
        log.warning(
            "%s: Spark cannot list a prefix with a key that has %s; sweeps find all images instead, until the object "
            "is renamed and the command is started again",
            self._source.counts.not_in_xml or self._source.root,
            keys,
        )

    def _drain(self, query: StreamingQuery | None) -> None:
        """Let the query finish, then sweep, then wait for files that are being written."""
        while query and query.isActive and not self._stop_event.wait(_POLL):
            self._requests.handle_pending(self._processing)
        if not self._error and not self._stop_event.is_set():
            self._sweeper.sweep()
        deadline = time.monotonic() + self._settings.settle + _WAIT_TIMEOUT
        while self._pending and not self._error and time.monotonic() < deadline:
            if self._stop_event.wait(_POLL):
                break
            self._process_due_files()

    def _follow(self, query: StreamingQuery | None) -> None:
        """Until a stop is requested, or the checkpoint is full: process pending files, and sweep when due."""
        check_at = 0.0
        while not self._stop_event.wait(_POLL):
            if query and time.monotonic() >= check_at:
                if not query.isActive:
                    return
                check_at = time.monotonic() + _POLL_QUERY
            self._requests.handle_pending(self._processing)
            if self._pending:
                self._process_due_files()
            if self._is_recount_due:
                self._sweeper.count_waiting()
                self._is_recount_due = False
            if self._is_sweep_due(query):
                self._sweeper.sweep()
            if self._batch.workers_started.done():
                self._batch.workers_started.result()
            if self._discovery.error:
                self._error = self._discovery.error
                return
            if self._is_checkpoint_full():
                return
            idle = time.time() - self.summary.last_row_at > _SHOW_BATCH
            if idle and not self.summary.waiting and not self._processing.locked():
                self._report(Stage.WATCH)

    def _is_sweep_due(self, query: StreamingQuery | None) -> bool:
        """Return whether a sweep is due, and the images are committed that the stream had found when it became due.

        Images that arrived since do not count: with steady arrivals, some always wait.
        """
        if not self._sweeper.is_due:
            self._sweep_after = None
            return False
        if self._sweep_after is None:
            self._sweep_after = self._discovery.position
        return query is None or self._discovery.has_committed(self._sweep_after, query)

    def _is_checkpoint_full(self) -> bool:
        limit = self._discovery.max_batches
        return limit is not None and self._batches >= limit

    def _renew_checkpoint(self) -> bool:
        """Delete a checkpoint that is full; return whether a new query must be started, with a new one."""
        if self._error or not self._is_checkpoint_full():
            return False
        remove_checkpoint(self._discovery.lake)
        self._batches = 0
        return not self._settings.once and not self._stop_event.is_set()

    def _stop_query(self, query: StreamingQuery | None) -> None:
        """Stop after the commit in progress; `query.stop()` alone would interrupt it."""
        self._ending = True
        if self._stop_event.is_set() and self._processing.locked():
            self._report(Stage.STOP)
        with self._processing:
            pass
        if query:
            _await_trigger(query)
            query.stop()
        self.summary.waiting = max(self.summary.waiting, self._pending.without_row)


def _await_trigger(query: StreamingQuery) -> None:
    """Wait until the query has ended its current trigger, up to a timeout."""
    deadline = time.monotonic() + _WAIT_TIMEOUT
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(_POLL)
