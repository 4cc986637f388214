"""Find the files that the stream does not deliver, and apply deletions if mirroring is on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.featurize.scheduler import StopRequested
from streaming.ingest.settings import IngestSettings, IngestSummary
from streaming.maintenance.mirror import mirror
from streaming.maintenance.missing_images import ListingSnapshot
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile


class Sweeper:
    """Compares the listing of the source with the lake.

    Spark's file source skips empty files, replaced files, and files with old modification times.

    Parameters
    ----------
    process : callable
        Featurizes and commits files.
    summary : IngestSummary
        Updated by each sweep.
    """

    def __init__(
        self,
        source: Source,
        batch: MicroBatch,
        settings: IngestSettings,
        process: Callable[[Sequence[StoredFile]], Sequence[BatchResult]],
        summary: IngestSummary,
    ) -> None:
        self._source, self._batch, self._settings = source, batch, settings
        self._process, self._summary = process, summary
        self._ended_at = -math.inf
        #: Seconds between two sweeps.
        self.interval = settings.sweep_every

    @property
    def is_due(self) -> bool:
        """Whether `interval` seconds have passed since the last sweep; True before the first."""
        return time.monotonic() >= self._ended_at + self.interval

    def sweep(self) -> None:
        """Process the files that are new or changed; with `mirror`, delete the rows of deleted images."""
        snapshot, listing = ListingSnapshot(), self._source.images()
        if self._settings.mirror:
            listing = snapshot.record(listing)
        found = list(self._batch.image_index.new_or_changed(listing))
        self._summary.waiting = len(found)
        self._summary.listing = self._source.counts
        with suppress(StopRequested):
            self._process(found)
            if self._settings.mirror:
                limit = self._settings.remove_limit
                removed, skipped = mirror(self._batch, self._source, snapshot, limit)
                self._summary.removed += removed
                self._summary.skipped_deletions = skipped
        self._ended_at = time.monotonic()
