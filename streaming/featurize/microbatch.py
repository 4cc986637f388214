"""Process one micro-batch: select new and changed images, compute features, write both tables."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from streaming.delta.tables import read_table
from streaming.delta.writer import SWEEP, BatchId, Writer, prepare_commit
from streaming.featurize.crash_recovery import featurize_with_crash_recovery
from streaming.featurize.partitions import max_concurrent_tasks
from streaming.featurize.results import BatchResult, ComputedPart
from streaming.featurize.worker import Featurizer
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, features_table
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile

# Images of a task at most: two seconds of work. The jobs of a commit wait for a task to end, one after the other;
# but of tasks of 100, Spark's part and Python's beside the network take 5 % more of the whole.
_SHARE = 250
_ROWS_A_FILE = 2048  # 8 MB: two cores write a part of 4,000 at once


@dataclass(frozen=True)
class MicroBatch:
    """Takes lists of files into one lake; `remarks` (source, engine) go into each commit's metadata."""

    spark: SparkSession
    lake: Lake
    featurizer: Featurizer
    known: ImageIndex
    remarks: Mapping[str, Any]

    def process(self, files: Sequence[StoredFile], batch: BatchId = SWEEP) -> BatchResult:
        """Bring every file into exactly one table; see `compute` and `commit`."""
        return self.commit(self.compute(files), batch)

    def compute(self, files: Sequence[StoredFile]) -> ComputedPart:
        """Featurize the files that the lake does not hold as they are.

        What it holds unchanged is left alone. That is also what makes a replay exact: an earlier attempt's rows
        are read back, and stand.

        Parameters
        ----------
        files : sequence of StoredFile
            As listed.
        """
        started = time.monotonic()
        held, attempts = self._held(self.known.held(files))
        doubted = self.known.doubted
        todo = [file for file in files if file not in held["current"] or file.path in doubted]
        computed = ComputedPart(todo, held, skipped=len(files) - len(todo))
        if todo:
            tasks = [(file, attempts.get(file.path, 0) + 1) for file in todo]
            shares = self._shares(len(tasks))
            featurize_with_crash_recovery(computed, self.spark, self.featurizer, tasks, shares)
        computed.seconds = time.monotonic() - started
        return computed

    def commit(self, computed: ComputedPart, batch: BatchId = SWEEP) -> BatchResult:
        """Write what was computed to both tables.

        Parameters
        ----------
        computed : Computed
        batch : BatchId
            The stream's micro-batch, or `SWEEP`.
        """
        started = time.monotonic()
        self.spark.sparkContext.setLocalProperty("spark.scheduler.pool", "commits")
        paths: dict[str, set[str]] = defaultdict(set)
        for row in computed.verdicts:
            paths[row.outcome].add(row.path)
        if computed.frame is not None:
            try:
                self._write(computed, paths, batch)
            finally:
                computed.release()
        written = paths[Outcome.FEATURES] | paths[Outcome.QUARANTINE]
        self.known.add([file for file in computed.files if file.path in written])
        return BatchResult(
            batch,
            computed.seconds + time.monotonic() - started,
            Counter(row.outcome for row in computed.verdicts),
            Counter(row.reason for row in computed.verdicts if row.reason),
            changing=tuple(paths[Outcome.CHANGING]),
            skipped=computed.skipped,
            replaced=len(written & (computed.held["features"] | computed.held["quarantine"])),
            retries=sum(row.retries for row in computed.verdicts),
            unread=tuple(
                row.detail for row in computed.verdicts if row.outcome == Outcome.UNREAD.value
            ),
        )

    def prepare(self) -> None:
        """Make the next commit of features faster, see `prepare_commit`."""
        prepare_commit(self.spark, self.lake.features)

    def _held(self, files: Sequence[StoredFile]) -> tuple[dict[str, set[Any]], dict[str, int]]:
        """What the lake holds of these paths: by table, the files that are unchanged, and earlier attempts."""
        held: dict[str, set[Any]] = defaultdict(set)
        attempts: dict[str, int] = {}
        if not files:
            return held, attempts
        # Through Arrow: no Python worker has to start for these rows.
        names = pd.DataFrame({"path": [file.path for file in files]})
        asked = F.broadcast(self.spark.createDataFrame(names, "path string"))
        columns = ("path", "length", F.unix_millis("modification_time").alias("modified_ms"))
        for name, location, tries in (
            ("features", self.lake.features, F.lit(0)),
            ("quarantine", self.lake.quarantine, F.col("attempts")),
        ):
            table = read_table(self.spark, location).select(*columns, tries.alias("attempts"))
            for row in table.join(asked, "path").collect():
                held[name].add(row.path)
                held["current"].add(StoredFile(row.path, row.length, row.modified_ms))
                attempts[row.path] = max(row.attempts, attempts.get(row.path, 0))
        return held, attempts

    def _shares(self, images: int) -> int:
        """How many tasks: short ones for the processor, as many for each core; one for each GPU."""
        at_once = max_concurrent_tasks(self.spark, self.featurizer)
        rounds = math.ceil(images / at_once / _SHARE) if self.featurizer.device == "cpu" else 1
        return min(images, at_once * rounds)

    def _write(
        self,
        computed: ComputedPart,
        paths: Mapping[str, set[str]],
        batch: BatchId,
    ) -> None:
        """Quarantine first, features second; an image that changes tables is inserted, then deleted."""
        remarks = {
            **self.remarks,
            "images": len(paths[Outcome.FEATURES]),
            "quarantined": len(paths[Outcome.QUARANTINE]),
            "seconds": round(computed.seconds, 3),
        }
        held = computed.held
        good, bad = paths[Outcome.FEATURES], paths[Outcome.QUARANTINE]
        quarantine = Writer(self.spark, self.lake.quarantine, remarks, batch)
        features = Writer(self.spark, self.lake.features, remarks, batch)
        arrival: dict[str, Column] = {
            "modification_time": F.timestamp_millis("modified_ms"),
            "model_id": F.lit(self.featurizer.extractor.model_id),
            "ingested_at": F.current_timestamp(),
            "batch_id": F.lit(batch.number).cast("long"),
        }
        assert computed.frame is not None
        complete = computed.frame.withColumns(arrival)
        if bad:
            rows = complete.where(F.col("outcome") == Outcome.QUARANTINE.value).coalesce(1)
            quarantine.upsert(rows.select(*QUARANTINE.names), known=bool(bad & held["quarantine"]))
        if good:
            rows = complete.where(F.col("outcome") == Outcome.FEATURES.value)
            rows = rows.coalesce(math.ceil(len(good) / _ROWS_A_FILE))
            names = features_table(self.featurizer.extractor.width).names
            features.upsert(rows.select(*names), known=bool(good & held["features"]))
        if good & held["quarantine"]:
            quarantine.delete(sorted(good & held["quarantine"]))
        if bad & held["features"]:
            features.delete(sorted(bad & held["features"]))
