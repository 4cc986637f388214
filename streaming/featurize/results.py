"""The result of a micro-batch: computed but not yet written, and written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, Row

from streaming.delta.throughput import images_per_second
from streaming.delta.writer import BatchId
from streaming.images.decoder_warnings import WarningCounts
from streaming.images.optional_formats import EXTRA
from streaming.outcomes import Outcome, Reason
from streaming.storage.interface import StoredFile

#: Columns of `worker.OUTPUT` that the driver collects.
VERDICT = ("path", "outcome", "reason", "detail", "retries", "warnings")


@dataclass(frozen=True)
class BatchResult:
    """The outcome of one committed part of a micro-batch.

    Attributes
    ----------
    batch : BatchId
        Query and number of the micro-batch.
    seconds : float
        Duration, see `streaming.delta.throughput`.
    outcomes, reasons : Counter
        Images by outcome, and quarantined images by reason.
    changing : tuple of str
        Paths that were still being written, to be checked again later.
    skipped : int
        Images that the lake already held unchanged.
    replaced : int
        Images whose earlier row was replaced.
    retries : int
        Retried reads of images.
    warnings : WarningCounts
        Warnings of the decoders.
    missing_extras : Counter
        Images whose format needs an extra that is not installed, by extra.
    unread : tuple of str
        Errors of images that could not be read within the retry timeout: they are in no table.
    """

    batch: BatchId
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    changing: tuple[str, ...] = ()
    skipped: int = 0
    replaced: int = 0
    retries: int = 0
    warnings: WarningCounts = field(default_factory=WarningCounts)
    missing_extras: Counter[str] = field(default_factory=Counter)
    unread: tuple[str, ...] = ()

    @property
    def written(self) -> int:
        """Rows written to either table."""
        return self.outcomes[Outcome.FEATURES] + self.outcomes[Outcome.QUARANTINE]

    @property
    def images_per_second(self) -> float | None:
        """Images written per second of its duration; None if it wrote none."""
        return images_per_second(self.written, self.seconds)


@dataclass
class ComputedPart:
    """Images that have been featurized and not yet written.

    Attributes
    ----------
    files : list of StoredFile
        The files that were featurized.
    existing : dict
        ``features`` and ``quarantine``: the paths that have a row there; ``current``: files whose row is current.
    skipped : int
        Number of images that the lake holds unchanged.
    frame : DataFrame, optional
        Rows of `worker.OUTPUT_DDL`; None if there was nothing to do.
    cached : list of DataFrame
        The cached frames that make up `frame`.
    verdicts : list of Row
        `VERDICT` of each.
    started : float
        Start of the batch, see `streaming.delta.throughput`, in seconds since 1970.
    """

    files: list[StoredFile]
    existing: dict[str, set[Any]]
    skipped: int
    frame: DataFrame | None = None
    cached: list[DataFrame] = field(default_factory=list)
    verdicts: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    def collect(self, frame: DataFrame) -> None:
        """Compute the rows of a frame, cache them, and add them and their verdicts."""
        frame = frame.persist()
        self.cached.append(frame)
        self.verdicts += frame.select(*VERDICT).collect()
        self.frame = self.frame.unionAll(frame) if self.frame else frame

    def release(self) -> None:
        """Free the cached rows, whether written or not."""
        for frame in self.cached:
            frame.unpersist()
        self.cached = []

    def discard(self) -> None:
        """Free the cached rows, and remove them, so that the images can be featurized again."""
        self.release()
        self.frame, self.verdicts = None, []


def count_warnings(verdicts: Iterable[Row]) -> WarningCounts:
    """Count the warnings of the decoders in rows of `VERDICT`."""
    counts = WarningCounts()
    for row in verdicts:
        counts.add(row.path, row.warnings or [])
    return counts


def count_missing_extras(verdicts: Iterable[Row]) -> Counter[str]:
    """Count the images in rows of `VERDICT` whose format needs an extra, by extra."""
    details = (row.detail for row in verdicts if row.reason == Reason.UNSUPPORTED.value)
    return Counter(match[1] for match in map(EXTRA.search, details) if match)
