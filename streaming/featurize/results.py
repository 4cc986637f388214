"""The result of a micro-batch: computed but not yet written, and written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, Row

from streaming.delta.writer import BatchId
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile

#: Columns of a featurized image that the driver reads at once.
VERDICT = ("path", "outcome", "reason", "detail", "retries")


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
    #: Tries at reading images after the first ones.
    retries: int = 0
    #: Why images could not be read, though it was tried for long: they are in no table.
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
        What was featurized.
    held : dict
        Paths that a table holds, in an earlier state, by table; ``current``: files that it holds as they are.
    skipped : int
        Images that the lake holds as they are.
    frame : DataFrame, optional
        Rows of `featurize.OUTPUT_DDL`; None where there was nothing to do.
    cached : list of DataFrame
        What it is made of, to be let go of by `release`.
    verdicts : list of Row
        ``path``, ``outcome``, ``reason``, ``detail`` and ``retries`` of each.
    seconds : float
        What it took.
    """

    files: list[StoredFile]
    held: dict[str, set[Any]]
    skipped: int
    frame: DataFrame | None = None
    cached: list[DataFrame] = field(default_factory=list)
    verdicts: list[Row] = field(default_factory=list)
    seconds: float = 0.0

    def release(self) -> None:
        """Let go of the rows, written or not."""
        for frame in self.cached:
            frame.unpersist()
        self.cached = []
