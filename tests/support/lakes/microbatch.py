"""Process a list of files as one micro-batch, as the scheduler processes each part."""

from __future__ import annotations

from collections.abc import Sequence

from streaming.delta.writer import SWEEP, BatchId
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.storage.interface import StoredFile


def process(
    batch: MicroBatch, files: Sequence[StoredFile], batch_id: BatchId = SWEEP
) -> BatchResult:
    """Compute the features of the files and commit them."""
    return batch.commit(batch.compute(files), batch_id)
