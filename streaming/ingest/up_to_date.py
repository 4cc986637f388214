"""Decide whether `ingest --once` has nothing to do, before Spark is started."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future

from streaming.delta.tables import is_table
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.maintenance.requests import pending_requests
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile

#: Seconds by which the start of Spark is delayed at most, apart from one request to S3.
TIME_LIMIT = 2.0


def is_up_to_date(
    source: Source, lake: Lake, index_loaded: Future[ImageIndex], time_limit: float = TIME_LIMIT
) -> bool:
    """Return whether all images of a source are in the lake, unchanged, and no other work is pending.

    A large source or lake is not compared to the end: False is also returned if the time is over. Rows of deleted
    images are not looked for.
    """
    deadline = time.monotonic() + time_limit
    if not all(map(is_table, (lake.features, lake.quarantine, lake.refits))):
        return False
    if pending_requests(lake):
        return False
    try:
        index = index_loaded.result(time_limit)
        if index.has_duplicates:  # an interrupted move
            return False
        return not next(index.new_or_changed(_until(deadline, source.images())), None)
    except TimeoutError:
        return False


def _until(deadline: float, listing: Iterator[StoredFile]) -> Iterator[StoredFile]:
    for file in listing:
        if time.monotonic() > deadline:
            raise TimeoutError
        yield file
