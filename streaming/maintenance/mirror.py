"""`--mirror`: delete the rows of images that were deleted from the source."""

from __future__ import annotations

import logging

from streaming.featurize.microbatch import MicroBatch
from streaming.maintenance.forget import delete_rows
from streaming.maintenance.missing_images import ListingSnapshot, find_deleted_images
from streaming.sources.listing import Source

log = logging.getLogger(__name__)


def mirror(
    batch: MicroBatch, source: Source, seen: ListingSnapshot, limit: float
) -> tuple[int, int]:
    """Remove the rows of images that are gone, unless something speaks against it.

    Parameters
    ----------
    batch : MicroBatch
    source : Source
    seen : Seen
        Of a listing that came to its end.
    limit : float
        As of `streaming.maintenance.missing_images.find_deleted_images`.

    Returns
    -------
    removed, skipped_deletions : int
        Rows removed, and rows kept though their images are gone.
    """
    gone = find_deleted_images(batch.lake, source.root, seen, limit)
    if gone.skip_reason:
        log.warning(
            "%d rows of deleted images were kept, because %s; use --remove-limit 1 to delete them",
            len(gone.paths),
            gone.skip_reason,
        )
        return 0, len(gone.paths)
    delete_rows(batch.spark, batch.lake, batch.image_index, gone.paths, "removed")
    return len(gone.paths), 0
