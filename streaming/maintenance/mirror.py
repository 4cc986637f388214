"""`--mirror`: delete the rows of images that were deleted from the source."""

from __future__ import annotations

import logging

from streaming.featurize.microbatch import MicroBatch
from streaming.maintenance.forget import delete_rows
from streaming.maintenance.missing_images import ListingSnapshot, find_deleted_images
from streaming.sources.listing import Source

log = logging.getLogger(__name__)


def mirror(
    batch: MicroBatch, source: Source, snapshot: ListingSnapshot, limit: float
) -> tuple[int, int]:
    """Delete the rows of images that were deleted from the source, unless the deletion is implausible.

    Parameters
    ----------
    batch : MicroBatch
    source : Source
    snapshot : ListingSnapshot
        Of a complete listing.
    limit : float
        See `streaming.maintenance.missing_images.find_deleted_images`.

    Returns
    -------
    removed, skipped_deletions : int
        Numbers of rows that were deleted, and of rows that were kept although their image was deleted; more may be, see
        `streaming.maintenance.missing_images.DeletedImages`.
    """
    deleted = find_deleted_images(batch.lake, source.root, snapshot, limit)
    if deleted.skip_reason:
        log.warning(
            "%d rows of deleted images were kept, because %s",
            len(deleted.paths),
            deleted.skip_reason,
        )
        return 0, len(deleted.paths)
    delete_rows(batch.spark, batch.lake, batch.image_index, deleted.paths, "removed")
    return len(deleted.paths), 0
