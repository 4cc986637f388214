"""Process one micro-batch: select new and changed images, compute features, write both tables.

Spark loses the rows of all tasks of a worker that dies and does not report the cause. The images are therefore
processed again in isolated processes (`streaming.featurize.isolation`), one per core, so that the worker survives
their death. The images of a process that died are then processed one per process.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from streaming.delta.log import Version
from streaming.delta.tables import create_frame, read_table
from streaming.delta.throughput import STARTED
from streaming.delta.writer import SWEEP, BatchId, Writer, prepare_commit
from streaming.featurize.isolation import IsolatedFeaturizer
from streaming.featurize.results import (
    BatchResult,
    ComputedPart,
    count_missing_extras,
    count_warnings,
)
from streaming.featurize.worker import (
    Featurizer,
    Task,
    featurize_partitions,
    max_concurrent_tasks,
)
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, features_table
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile, unique_paths

log = logging.getLogger(__name__)

# At most this many images per task, two seconds of work: each job of a commit waits for a task to end.
# With 100 images per task, the overhead of Spark and Python beside inference grows by 5 % of the total time.
_IMAGES_PER_TASK = 250
_ROWS_PER_FILE = 2048  # 8 MB: two cores write a part of 4,000 rows in parallel
# Spark's messages for a Python worker or (on a cluster) an executor that died, and for a worker out of memory.
# Spark 3.5 also sends tasks to an idle worker that has died before.
_WORKER_DIED = re.compile(
    r"Python worker exited unexpectedly|ExecutorLostFailure|^MemoryError|HostOutOfMemory"
    r"|SocketException: (?:Broken pipe|Connection reset)(?:\n\s+at .*)*?PythonRunner\$WriterThread",
    re.MULTILINE,
)
_ISOLATED_ATTEMPTS = 3  # each ends at most one idle worker per core that has died
_isolation_lock = Lock()  # parts are computed concurrently


def _completed() -> Future[None]:
    started: Future[None] = Future()
    started.set_result(None)
    return started


@dataclass(frozen=True)
class _WrittenTable:
    """The number of rows that a table should have got, and the commit, if it was found."""

    rows: int
    commit: Version | None

    @property
    def is_complete(self) -> bool | None:
        """Whether the commit has these rows; None if there is no commit, as for an append without rows."""
        if self.commit is None:
            return None
        return not self.commit.has_metrics or self.commit.added + self.commit.replaced == self.rows

    @property
    def seconds(self) -> float | None:
        """Duration of the batch up to the commit, as `history` reads it."""
        return self.commit.seconds if self.commit else None


@dataclass(frozen=True)
class MicroBatch:
    """Computes the features of lists of files, and commits them to one lake.

    Parameters
    ----------
    spark : SparkSession
    lake : Lake
    featurizer : Featurizer
    image_index : ImageIndex
        Updated by each commit.
    commit_metadata : mapping
        Entries for the metadata of each commit: source, engine, device.
    workers_started : Future
        The start of the workers. Images may be processed before it ends: their tasks wait for a core.
    """

    spark: SparkSession
    lake: Lake
    featurizer: Featurizer
    image_index: ImageIndex
    commit_metadata: Mapping[str, Any]
    workers_started: Future[None] = field(default_factory=_completed)

    def compute(self, files: Sequence[StoredFile]) -> ComputedPart:
        """Featurize the files that are new or changed; skip those that the lake holds unchanged.

        Skipping also makes a replayed micro-batch exact: the rows that an earlier attempt committed are read back
        and kept.
        """
        files = unique_paths(files)
        existing, attempts = self._read_existing(self.image_index.filter_known(files))
        forced = self.image_index.forced_paths
        todo = [file for file in files if file not in existing["current"] or file.path in forced]
        computed = ComputedPart(todo, existing, skipped=len(files) - len(todo))
        if todo:
            self._featurize(computed, [(file, attempts.get(file.path, 0) + 1) for file in todo])
        return computed

    def commit(self, computed: ComputedPart, batch: BatchId = SWEEP) -> BatchResult:
        """Write the computed rows to both tables.

        Parameters
        ----------
        computed : ComputedPart
        batch : BatchId
            The stream's micro-batch, or `SWEEP`.
        """
        self.spark.sparkContext.setLocalProperty("spark.scheduler.pool", "commits")
        paths: dict[str, set[str]] = defaultdict(set)
        for row in computed.verdicts:
            paths[row.outcome].add(row.path)
        written = paths[Outcome.FEATURES] | paths[Outcome.QUARANTINE]
        # If a write fails, some rows may be in the tables: the stream may continue, and must look them up.
        self.image_index.invalidate(sorted(written))
        tables: list[_WrittenTable] = []
        if computed.frame is not None:
            try:
                tables = self._write(computed, paths, batch)
            finally:
                computed.release()
        if any(table.is_complete is False for table in tables):
            log.warning(
                "the committed rows differ from the computed ones, probably because an executor was lost and its tasks "
                "ran again with another result: the next sweep or run looks up these %s images",
                f"{len(written):,}",
            )
        complete = all(table.is_complete for table in tables)
        self.image_index.add(
            [
                *(file for file in computed.existing["current"] if file.path not in written),
                *(file for file in computed.files if file.path in written and complete),
            ]
        )
        seconds = tables[-1].seconds if tables else None
        return BatchResult(
            batch,
            seconds or time.time() - computed.started,
            Counter(row.outcome for row in computed.verdicts),
            Counter(row.reason for row in computed.verdicts if row.reason),
            changing=tuple(paths[Outcome.CHANGING]),
            skipped=computed.skipped,
            replaced=len(
                written & (computed.existing["features"] | computed.existing["quarantine"])
            ),
            retries=sum(row.retries for row in computed.verdicts),
            warnings=count_warnings(computed.verdicts),
            missing_extras=count_missing_extras(computed.verdicts),
            unread=tuple(
                row.detail for row in computed.verdicts if row.outcome == Outcome.UNREAD.value
            ),
        )

    def prepare(self) -> None:
        """Make the next commit of features faster; see `prepare_commit`."""
        prepare_commit(self.spark, self.lake.features)

    def _read_existing(
        self, files: Sequence[StoredFile]
    ) -> tuple[dict[str, set[Any]], dict[str, int]]:
        """Return the rows that exist for these paths, as in `ComputedPart.existing`, and attempts by path."""
        existing: dict[str, set[Any]] = defaultdict(set)
        attempts: dict[str, int] = {}
        if not files:
            return existing, attempts
        import pandas as pd  # takes half a second, and a first start does not need it

        # From pandas, through Arrow: no Python worker has to start for these rows.
        names = pd.DataFrame({"path": [file.path for file in files]})
        wanted = F.broadcast(create_frame(self.spark, names, "path string"))
        columns = ("path", "length", F.unix_millis("modification_time").alias("modified_ms"))
        for name, location, attempt in (
            ("features", self.lake.features, F.lit(0)),
            ("quarantine", self.lake.quarantine, F.col("attempts")),
        ):
            table = read_table(self.spark, location).select(*columns, attempt.alias("attempts"))
            for row in table.join(wanted, "path").collect():
                existing[name].add(row.path)
                existing["current"].add(StoredFile(row.path, row.length, row.modified_ms))
                attempts[row.path] = max(row.attempts, attempts.get(row.path, 0))
        return existing, attempts

    def _featurize(self, computed: ComputedPart, tasks: Sequence[Task]) -> None:
        """Featurize images into `computed`; if a worker dies, find the images that killed it."""
        try:
            try:
                count = self._partition_count(len(tasks))
                computed.collect(featurize_partitions(self.spark, self.featurizer, tasks, count))
            except (PySparkException, Py4JError) as error:
                if not _WORKER_DIED.search(str(error)):
                    raise
                # Raises the engine's error: if the engine crashed the worker, no image is to blame.
                self.workers_started.result()
                log.warning(
                    "a worker died while processing %s images: they are retried one by one",
                    f"{len(tasks):,}",
                )
                with _isolation_lock:
                    self._retry_isolated(computed, tasks)
        except BaseException:
            computed.release()
            raise

    def _retry_isolated(self, computed: ComputedPart, tasks: Sequence[Task]) -> None:
        """Featurize images one by one, again if a task got a worker that had died."""
        for attempt in range(1, _ISOLATED_ATTEMPTS + 1):
            computed.discard()
            try:
                self._featurize_isolated(computed, tasks)
            except (PySparkException, Py4JError) as error:
                if attempt == _ISOLATED_ATTEMPTS or not _WORKER_DIED.search(str(error)):
                    raise
            else:
                return

    def _featurize_isolated(self, computed: ComputedPart, tasks: Sequence[Task]) -> None:
        isolated = IsolatedFeaturizer(self.featurizer)
        count = min(len(tasks), max_concurrent_tasks(self.spark, self.featurizer))
        computed.collect(featurize_partitions(self.spark, isolated, tasks, count))
        crashed = {row.path for row in computed.verdicts if row.outcome == Outcome.CRASHED}
        if crashed:
            computed.verdicts = [row for row in computed.verdicts if row.path not in crashed]
            suspects = [task for task in tasks if task[0].path in crashed]
            isolated = IsolatedFeaturizer(self.featurizer, one_process_per_image=True)
            computed.collect(featurize_partitions(self.spark, isolated, suspects, 1))

    def _partition_count(self, images: int) -> int:
        """Return the number of tasks: short ones, equally many for each CPU core; one for each GPU."""
        concurrent = max_concurrent_tasks(self.spark, self.featurizer)
        rounds = (
            math.ceil(images / concurrent / _IMAGES_PER_TASK)
            if self.featurizer.device == "cpu"
            else 1
        )
        return min(images, concurrent * rounds)

    def _write(
        self,
        computed: ComputedPart,
        paths: Mapping[str, set[str]],
        batch: BatchId,
    ) -> list[_WrittenTable]:
        """Write quarantine first, features second; an image that moves is inserted, then deleted.

        Returns
        -------
        list of _WrittenTable
            The tables that got rows.
        """
        metadata = {
            **self.commit_metadata,
            "images": len(paths[Outcome.FEATURES]),
            "quarantined": len(paths[Outcome.QUARANTINE]),
            STARTED: round(computed.started * 1000),
        }
        existing = computed.existing
        good, bad = paths[Outcome.FEATURES], paths[Outcome.QUARANTINE]
        quarantine = Writer(self.spark, self.lake.quarantine, metadata, batch)
        features = Writer(self.spark, self.lake.features, metadata, batch)
        added: dict[str, Column] = {
            "modification_time": F.timestamp_millis("modified_ms"),
            "model_id": F.lit(self.featurizer.model_info.model_id),
            "ingested_at": F.current_timestamp(),
            "batch_id": F.lit(batch.number).cast("long"),
        }
        assert computed.frame is not None
        complete = computed.frame.withColumns(added)
        if bad:
            rows = complete.where(F.col("outcome") == Outcome.QUARANTINE.value).coalesce(1)
            quarantine.upsert(
                rows.select(*QUARANTINE.names), merge=bool(bad & existing["quarantine"])
            )
        if good:
            rows = complete.where(F.col("outcome") == Outcome.FEATURES.value)
            rows = rows.coalesce(math.ceil(len(good) / _ROWS_PER_FILE))
            names = features_table(self.featurizer.model_info.width).names
            features.upsert(rows.select(*names), merge=bool(good & existing["features"]))
        if good & existing["quarantine"]:
            quarantine.delete(sorted(good & existing["quarantine"]))
        if bad & existing["features"]:
            features.delete(sorted(bad & existing["features"]))
        return [
            _WrittenTable(len(written), writer.find_commit())
            for writer, written in ((quarantine, bad), (features, good))
            if written
        ]
