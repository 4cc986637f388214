"""One micro-batch: the images that the lake does not hold yet, computed once, written to both tables."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from streaming.commit import SWEEP, BatchId, Writer
from streaming.featurize import INPUT_DDL, OUTPUT_DDL, Featurizer
from streaming.fetch import Outcome
from streaming.lake import Lake, read_table
from streaming.schemas import QUARANTINE, features_table
from streaming.storage import StoredFile


@dataclass(frozen=True)
class BatchResult:
    """What became of the images of one micro-batch."""

    batch: BatchId
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    #: Paths that were still being written, to be taken later.
    changing: tuple[str, ...] = ()
    #: Images that the lake held already, unchanged.
    skipped: int = 0
    #: Images whose earlier row was replaced.
    replaced: int = 0

    @property
    def written(self) -> int:
        """Rows written to either table."""
        return self.outcomes[Outcome.FEATURES] + self.outcomes[Outcome.QUARANTINE]


def known_images(spark: SparkSession, lake: Lake) -> DataFrame:
    """Every image in the lake.

    Returns
    -------
    DataFrame
        ``path``, ``length``, ``modified_ms``, ``attempts`` and ``table``; two rows where an image is under way
        from one table to the other.
    """
    columns = ("path", "length", F.unix_millis("modification_time").alias("modified_ms"))
    features = read_table(spark, lake.features).select(
        *columns, F.lit(0).alias("attempts"), F.lit("features").alias("table")
    )
    quarantine = read_table(spark, lake.quarantine).select(
        *columns, "attempts", F.lit("quarantine").alias("table")
    )
    return features.unionByName(quarantine)


@dataclass(frozen=True)
class MicroBatch:
    """Takes lists of files into one lake; `remarks` (source, engine) go into each commit's metadata."""

    spark: SparkSession
    lake: Lake
    featurizer: Featurizer
    remarks: Mapping[str, Any]

    def process(self, files: Sequence[StoredFile], batch: BatchId = SWEEP) -> BatchResult:
        """Bring every file into exactly one table; what the lake holds already, unchanged, is left alone.

        That rule is also what makes a replay exact: an earlier attempt's rows are read back, and stand.

        Parameters
        ----------
        files : sequence of StoredFile
            As listed.
        batch : BatchId
            The stream's micro-batch, or `SWEEP`.
        """
        started = time.monotonic()
        held, attempts = self._held(files)
        todo = [file for file in files if file not in held["current"]]
        if not todo:
            return BatchResult(batch, time.monotonic() - started, skipped=len(files))
        computed = self._compute(todo, attempts).persist()
        try:
            rows = computed.select("path", "outcome", "reason").collect()
            paths: dict[str, set[str]] = defaultdict(set)
            for row in rows:
                paths[row.outcome].add(row.path)
            self._write(computed, paths, held, batch, time.monotonic() - started)
        finally:
            computed.unpersist()
        written = paths[Outcome.FEATURES] | paths[Outcome.QUARANTINE]
        return BatchResult(
            batch,
            time.monotonic() - started,
            Counter(row.outcome for row in rows),
            Counter(row.reason for row in rows if row.reason),
            changing=tuple(paths[Outcome.CHANGING]),
            skipped=len(files) - len(todo),
            replaced=len(written & (held["features"] | held["quarantine"])),
        )

    def _held(self, files: Sequence[StoredFile]) -> tuple[dict[str, set[Any]], dict[str, int]]:
        """What the lake holds of these paths: by table, the files that are unchanged, and earlier attempts."""
        asked = self.spark.createDataFrame([(file.path,) for file in files], "path string")
        held: dict[str, set[Any]] = defaultdict(set)
        attempts: dict[str, int] = {}
        for row in known_images(self.spark, self.lake).join(F.broadcast(asked), "path").collect():
            held[row.table].add(row.path)
            held["current"].add(StoredFile(row.path, row.length, row.modified_ms))
            attempts[row.path] = max(row.attempts, attempts.get(row.path, 0))
        return held, attempts

    def _compute(self, files: Sequence[StoredFile], attempts: Mapping[str, int]) -> DataFrame:
        # Even shares, one a core: images cost about the same, and a worker starts only once.
        shares = min(len(files), self.spark.sparkContext.defaultParallelism)
        rows = [(f.path, f.length, f.modified_ms, attempts.get(f.path, 0) + 1) for f in files]
        named = self.spark.createDataFrame(
            self.spark.sparkContext.parallelize(rows, shares), INPUT_DDL, verifySchema=False
        )
        return named.mapInArrow(self.featurizer, OUTPUT_DDL)

    def _write(
        self,
        computed: DataFrame,
        paths: Mapping[str, set[str]],
        held: Mapping[str, set[str]],
        batch: BatchId,
        seconds: float,
    ) -> None:
        """Quarantine first, features second; an image that changes tables is inserted, then deleted."""
        remarks = {
            **self.remarks,
            "images": len(paths[Outcome.FEATURES]),
            "quarantined": len(paths[Outcome.QUARANTINE]),
            "seconds": round(seconds, 3),
        }
        good, bad = paths[Outcome.FEATURES], paths[Outcome.QUARANTINE]
        quarantine = Writer(self.spark, self.lake.quarantine, remarks, batch)
        features = Writer(self.spark, self.lake.features, remarks, batch)
        arrival: dict[str, Column] = {
            "modification_time": F.timestamp_millis("modified_ms"),
            "model_id": F.lit(self.featurizer.extractor.model_id),
            "ingested_at": F.current_timestamp(),
            "batch_id": F.lit(batch.number).cast("long"),
        }
        complete = computed.withColumns(arrival)
        if bad:
            rows = complete.where(F.col("outcome") == Outcome.QUARANTINE.value)
            quarantine.upsert(rows.select(*QUARANTINE.names), known=bool(bad & held["quarantine"]))
        if good:
            rows = complete.where(F.col("outcome") == Outcome.FEATURES.value)
            names = features_table(self.featurizer.extractor.width).names
            features.upsert(rows.select(*names), known=bool(good & held["features"]))
        if good & held["quarantine"]:
            quarantine.delete(sorted(good & held["quarantine"]))
        if bad & held["features"]:
            features.delete(sorted(bad & held["features"]))
