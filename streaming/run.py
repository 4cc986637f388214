"""One run of the pipeline: the streaming query, the files that wait, the sweep, and an orderly end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql.streaming.query import StreamingQuery

from streaming.commit import SWEEP, BatchId
from streaming.errors import PomonaError
from streaming.faults import explain
from streaming.fetch import Outcome
from streaming.microbatch import MicroBatch
from streaming.settings import IngestSettings, IngestSummary, Watcher
from streaming.source import Source
from streaming.storage import StoredFile, TransientFault, is_s3, storage_of
from streaming.sweep import missing_or_changed

_POLL = 0.1  # seconds between two looks at the flag
_PATIENCE = (
    30.0  # seconds, beyond the time to settle, for which --once waits for files being written
)


class _Stopped(Exception):
    """Ends the query where a micro-batch would begin after a stop was asked for; its files come again."""


class Run:
    """The stream delivers new files, the main thread takes what the stream does not deliver, never both at once."""

    def __init__(
        self, source: Source, batch: MicroBatch, settings: IngestSettings, watch: Watcher
    ) -> None:
        self.summary = IngestSummary()
        self._source, self._batch, self._settings, self._watch = source, batch, settings, watch
        self._stopping = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._later: dict[str, float] = {}  # path: when to look again
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
        query = self._start()
        try:
            self._count_waiting()
            if self._settings.once:
                self._drain(query, stop)
            else:
                self._follow(query, stop)
        finally:
            self._end(query)
        if self._fault:
            raise explain(self._fault) from self._fault
        self.summary.seconds = time.monotonic() - started
        return self.summary

    def _start(self) -> StreamingQuery:
        stream = self._source.stream(self._batch.spark, self._settings.max_files_per_trigger)
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
            if self._stopping.is_set():
                raise _Stopped
            try:
                listed = [StoredFile(*row) for row in names.collect()]
                files = [file for file in listed if self._source.is_image(file.path)]
                # Only the first micro-batch of a run can be one that an earlier run began.
                self._take(files, BatchId(self._query_id, number, replay=self._delivered is None))
            except (PomonaError, TransientFault, PySparkException, Py4JError, OSError) as error:
                self._fault = error  # Spark hands on a text with every stack in it
                raise
            self._delivered = len(listed)

    def _take(self, files: Iterable[StoredFile], batch: BatchId = SWEEP) -> None:
        """Featurize the files that hold still; the others wait."""
        now = time.time()
        ripe = []
        for file in files:
            age = now - file.modified_ms / 1000
            if not is_s3(file.path) and 0 <= age < self._settings.settle:
                self._later[file.path] = now + self._settings.settle - age
            else:
                ripe.append(file)
        if not ripe:
            return
        result = self._batch.process(ripe, batch)
        self._later |= dict.fromkeys(result.changing, now + self._settings.settle)
        self.summary.add(result)
        self._watch(result, self.summary)

    def _take_ripe(self) -> None:
        """Look again at files that were too young or were changing."""
        with self._one_at_a_time:
            files = []
            for path in [path for path, at in self._later.items() if at <= time.time()]:
                del self._later[path]
                try:
                    files.append(storage_of(path).stat(path))
                except FileNotFoundError:
                    self.summary.outcomes[Outcome.GONE] += 1
            self._take(files)

    def _sweep(self, stop: threading.Event) -> None:
        """Take what the stream passes over: empty, replaced and long-dated files."""
        with self._one_at_a_time:
            found = missing_or_changed(self._batch.spark, self._source, self._batch.lake)
            self.summary.waiting = len(found)
            self.summary.ignored = self._source.ignored.total
            size = self._settings.max_files_per_trigger
            for start in range(0, len(found), size):
                if stop.is_set():
                    return
                self._take(found[start : start + size])

    def _count_waiting(self) -> None:
        found = missing_or_changed(self._batch.spark, self._source, self._batch.lake)
        self.summary.waiting = len(found)

    def _drain(self, query: StreamingQuery, stop: threading.Event) -> None:
        """Let the stream run out, then sweep, then wait for files that are being written."""
        while query.isActive and not stop.wait(_POLL):
            pass
        if not self._fault and not stop.is_set():
            self._sweep(stop)
        until = time.monotonic() + self._settings.settle + _PATIENCE
        while self._later and not self._fault and time.monotonic() < until and not stop.wait(_POLL):
            self._take_ripe()

    def _follow(self, query: StreamingQuery, stop: threading.Event) -> None:
        """Sweep when it is time and the stream has caught up; take what was too young; until asked to stop."""
        sweep_at = time.monotonic()
        while query.isActive and not stop.wait(_POLL):
            if self._later:
                self._take_ripe()
            if time.monotonic() >= sweep_at and self._caught_up(query):
                self._sweep(stop)
                sweep_at = time.monotonic() + self._settings.sweep_every

    def _caught_up(self, query: StreamingQuery) -> bool:
        if self._delivered is None:
            return str(query.status["message"]).startswith("Waiting for")
        return self._delivered < self._settings.max_files_per_trigger

    def _end(self, query: StreamingQuery) -> None:
        """Stop after the micro-batch under way, its commit included: `query.stop()` alone would interrupt it."""
        self._stopping.set()
        with self._one_at_a_time:
            pass
        until = time.monotonic() + _PATIENCE
        while query.isActive and query.status["isTriggerActive"] and time.monotonic() < until:
            time.sleep(_POLL)
        query.stop()
        error = query.exception()
        if error and not self._fault and "_Stopped" not in str(error):
            self._fault = error
        self.summary.waiting = max(self.summary.waiting, len(self._later))
