"""Find the files that the stream does not deliver, and apply deletions if mirroring is on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from threading import Lock

from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.featurize.stopping import StopRequested, until_stopped
from streaming.ingest.settings import IngestSettings, IngestSummary
from streaming.maintenance.mirror import mirror
from streaming.maintenance.missing_images import ListingSnapshot
from streaming.outcomes import Outcome
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile


class Sweeper:
    """Compares the listing of the source with the lake.

    Spark's file source skips empty files, replaced files, and files with old modification times.

    A listing of 10 million objects takes half an hour, so the stream goes on meanwhile, and a stop ends it.

    Parameters
    ----------
    process : callable
        Featurizes and commits files.
    summary : IngestSummary
        Updated by each sweep.
    chunk_size : int
        Images that are processed at once.
    processing : Lock
        Held while images are processed.
    stopped : callable
        Returns whether a stop was requested, or the stream has failed.
    """

    def __init__(
        self,
        source: Source,
        batch: MicroBatch,
        settings: IngestSettings,
        process: Callable[[Sequence[StoredFile]], Sequence[BatchResult]],
        summary: IngestSummary,
        *,
        chunk_size: int,
        processing: Lock,
        stopped: Callable[[], bool],
    ) -> None:
        self._source, self._batch, self._settings = source, batch, settings
        self._process, self._summary = process, summary
        self._chunk_size, self._processing, self._stopped = chunk_size, processing, stopped
        self._ended_at = -math.inf
        #: Seconds between two sweeps.
        self.interval = settings.sweep_every

    @property
    def is_due(self) -> bool:
        """Whether `interval` seconds have passed since the last sweep; True before the first."""
        return time.monotonic() >= self._ended_at + self.interval

    def sweep(self) -> None:
        """Process the files that are new or changed; with `mirror`, delete the rows of deleted images."""
        snapshot, listing = ListingSnapshot(), self._list()
        if self._settings.mirror:
            listing = snapshot.record(listing)
        found = self._batch.image_index.new_or_changed(listing)
        waiting = 0
        with suppress(StopRequested):
            while chunk := list(islice(found, self._chunk_size)):
                waiting += self._process_chunk(chunk)
            with self._processing:
                self._summary.waiting = waiting
                self._summary.listing = self._source.counts
                if self._settings.mirror:
                    self._mirror(snapshot)
        self._ended_at = time.monotonic()

    def count_waiting(self) -> None:
        """Count all images that wait; the next sweep corrects the small error by what the stream commits meanwhile."""
        before = self._done
        with suppress(StopRequested):
            found = sum(1 for _ in self._batch.image_index.new_or_changed(self._list()))
            with self._processing:
                waiting = found - (self._done - before)
                self._summary.waiting = max(self._summary.waiting, waiting)

    def _list(self) -> Iterator[StoredFile]:
        """List the images, up to a stop, which raises StopRequested."""
        return until_stopped(self._source.images(), self._stopped)

    def _process_chunk(self, found: Sequence[StoredFile]) -> int:
        """Process those of the images that the stream has not processed since; return how many still wait."""
        with self._processing:
            if self._stopped():
                raise StopRequested
            images = list(self._batch.image_index.new_or_changed(found))
            done = sum(map(_count_done, self._process(images)))
            return max(0, len(images) - done)

    def _mirror(self, snapshot: ListingSnapshot) -> None:
        limit = self._settings.remove_limit
        removed, skipped = mirror(self._batch, self._source, snapshot, limit)
        self._summary.removed += removed
        self._summary.skipped_deletions = skipped

    @property
    def _done(self) -> int:
        return self._summary.images + self._summary.outcomes[Outcome.DELETED]


def _count_done(result: BatchResult) -> int:
    """Return how many images of a result no longer wait; those that were skipped are in the lake."""
    return result.written + result.skipped + result.outcomes[Outcome.DELETED]
