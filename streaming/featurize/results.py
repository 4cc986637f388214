"""The result of a micro-batch: computed but not yet written, and written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, Row

from streaming.delta.writer import BatchId
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile

#: Columns of `worker.OUTPUT` that the driver collects.
VERDICT = ("path", "outcome", "reason", "detail", "retries")


@dataclass(frozen=True)
class BatchResult:
    """The outcome of one committed part of a micro-batch."""

    batch: BatchId
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    #: Paths that were still being written, to be checked again later.
    changing: tuple[str, ...] = ()
    #: Images that the lake already held unchanged.
    skipped: int = 0
    #: Images whose earlier row was replaced.
    replaced: int = 0
    #: Retried reads of images.
    retries: int = 0
    #: Errors of images that could not be read within the retry timeout: they are in no table.
    unread: tuple[str, ...] = ()

    @property
    def written(self) -> int:
        """Rows written to either table."""
        return self.outcomes[Outcome.FEATURES] + self.outcomes[Outcome.QUARANTINE]


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
        ``path``, ``outcome``, ``reason``, ``detail`` and ``retries`` of each.
    seconds : float
        Duration.
    """

    files: list[StoredFile]
    existing: dict[str, set[Any]]
    skipped: int
    frame: DataFrame | None = None
    cached: list[DataFrame] = field(default_factory=list)
    verdicts: list[Row] = field(default_factory=list)
    seconds: float = 0.0

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
