"""How a run finds new images: with Spark's file source `binaryFile`, or with manifests of its own listing."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, Protocol

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from streaming.errors import UsageError
from streaming.ingest.settings import BINARY_FILE, MANIFESTS, IngestSettings
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.sources.arrivals import Arrivals
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile, from_spark, is_s3, unique_paths

#: Micro-batches after which a query over manifests gets a new checkpoint: every tenth of them, Spark writes the names
#: of all earlier manifests to a file again.
MAX_BATCHES = 1000
_SORTED = 500_000  # images of the first listing that are sorted by age at once: they take 120 MB


class Discovery(Protocol):
    """Delivers the new images of a source to a streaming query.

    Attributes
    ----------
    lake : Lake
        With the checkpoint of the query.
    """

    lake: Lake

    @property
    def max_batches(self) -> int | None:
        """Number of micro-batches after which a new checkpoint must be started."""

    @property
    def error(self) -> Exception | None:
        """The error for which no more images are found."""

    @property
    def outstanding(self) -> int | None:
        """Number of images that were found and are not committed; None if only Spark knows."""

    def list_all(self) -> Iterator[StoredFile]:
        """List all images, before the query starts."""

    def plan(self, new: Iterable[StoredFile]) -> tuple[int, list[StoredFile]]:
        """Return the number of the images that are new, and those of the first micro-batch."""

    def stream(self, spark: SparkSession) -> DataFrame:
        """Return the stream of the new images."""

    def watching(self, trigger: float) -> AbstractContextManager[None]:
        """Find more images while the block runs."""

    def deliver(self, rows: Sequence[Any]) -> list[StoredFile]:
        """Return the images of a micro-batch, given its rows."""

    def committed(self) -> None:
        """Release what a micro-batch needed, after the rows of its images were committed."""

    @property
    def position(self) -> int:
        """The place in the stream of the image that was found last."""

    def has_committed(self, position: int, query: StreamingQuery) -> bool:
        """Return whether all images up to a `position` are committed, also while others keep arriving."""


class BinaryFileDiscovery:
    """Spark's file source `binaryFile`, which lists the whole source at each trigger."""

    max_batches = None
    error = None
    outstanding = None

    def __init__(self, source: Source, lake: Lake, max_files: int) -> None:
        self.lake = lake
        self._source, self._max_files = source, max_files
        self._rows: Sequence[Any] = ()  # of the current micro-batch
        self._committed_all = False  # the last micro-batch was not full
        self._committed_ms: int | None = None  # all images that are older are committed

    def list_all(self) -> Iterator[StoredFile]:
        """List all images, before the query starts."""
        return self._source.images()

    def plan(self, new: Iterable[StoredFile]) -> tuple[int, list[StoredFile]]:
        """Return the number of the images, and the oldest ones, which Spark delivers first."""
        count = 0

        def counted() -> Iterator[StoredFile]:
            nonlocal count
            for count, file in enumerate(new, 1):  # noqa: B007
                yield file

        oldest = heapq.nsmallest(self._max_files, counted(), key=lambda file: file.modified_ms)
        return count, oldest

    def stream(self, spark: SparkSession) -> DataFrame:
        """Return the stream of the images."""
        return self._source.stream(spark, self._max_files)

    def watching(self, trigger: float) -> AbstractContextManager[None]:
        """Do nothing: Spark lists the source."""
        return nullcontext()

    def deliver(self, rows: Sequence[Any]) -> list[StoredFile]:
        """Return the images of a micro-batch."""
        self._rows = rows
        # Java reads each invalid byte of a name as U+FFFD, so that two files may have the same path.
        listed = unique_paths(StoredFile(from_spark(path), *rest) for path, *rest in rows)
        return [file for file in listed if self._source.is_image(file.path)]

    def committed(self) -> None:
        """Remember how far the stream is: Spark delivers the oldest of the images that it has listed first."""
        self._committed_all = len(self._rows) < self._max_files
        self._committed_ms = min((row.modified_ms for row in self._rows), default=0)
        self._rows = ()

    @property
    def position(self) -> int:
        """The present time, in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def has_committed(self, position: int, query: StreamingQuery) -> bool:
        """Return whether the last micro-batch was not full, or newer, or the last trigger found no images."""
        if self._committed_all or (self._committed_ms or 0) > position:
            return True
        status = query.status
        # Before the first trigger has found images, none are available either.
        has_listed = self._committed_ms is not None or status["message"].startswith("Waiting for")
        return has_listed and not status["isDataAvailable"]


class ManifestDiscovery:
    """Manifests of the new images in a folder, see `streaming.sources.arrivals`."""

    max_batches = MAX_BATCHES

    def __init__(self, source: Source, lake: Lake, max_files: int, index: ImageIndex) -> None:
        # A checkpoint of its own: the log of `binaryFile` contains the paths of the images.
        self.lake = lake.for_manifests()
        self._arrivals = Arrivals(source, lake.arrivals, max_files, index.new_or_changed)
        self._index, self._max_files = index, max_files

    @property
    def error(self) -> Exception | None:
        """The error for which no more images are found."""
        return self._arrivals.error

    @property
    def outstanding(self) -> int:
        """Number of images that were found and are not committed."""
        return self._arrivals.outstanding

    def list_all(self) -> Iterator[StoredFile]:
        """List all images, before the query starts."""
        return self._arrivals.list_all()

    def plan(self, new: Iterable[StoredFile]) -> tuple[int, list[StoredFile]]:
        """Write manifests, and return the number of the images, and those that are delivered first.

        These are the oldest ones, unless there are more images than are sorted at once.
        """
        count, first, listing = 0, list[StoredFile](), iter(new)
        while files := sorted(islice(listing, _SORTED), key=lambda file: file.modified_ms):
            count += len(files)
            first = first or [file for file in files if file.length][: self._max_files]
            self._arrivals.add(files)
            self._arrivals.prepare()
        return count, first

    def stream(self, spark: SparkSession) -> DataFrame:
        """Return the stream of the rows of the manifests."""
        self._arrivals.prepare()
        return self._arrivals.stream(spark)

    def watching(self, trigger: float) -> AbstractContextManager[None]:
        """Check for changed folders while the block runs."""
        return self._arrivals.watching(trigger)

    def deliver(self, rows: Sequence[Any]) -> list[StoredFile]:
        """Return the images of a micro-batch that are not in the lake, unchanged: a sweep may have found them."""
        return list(self._index.new_or_changed(self._arrivals.deliver(rows)))

    def committed(self) -> None:
        """Delete the manifests of the micro-batch."""
        self._arrivals.remove_delivered()

    @property
    def position(self) -> int:
        """Number of images that were found so far."""
        return self._arrivals.position

    def has_committed(self, position: int, query: StreamingQuery) -> bool:
        """Return whether the first images that were found, up to a `position`, are committed."""
        return self._arrivals.has_committed(position)


def check_file_source(source: Source, lake: Lake, settings: IngestSettings) -> None:
    """Raise UsageError if manifests are required and the source or the lake is on S3."""
    if settings.file_source == MANIFESTS and not _are_folders(source, lake):
        raise UsageError(
            f"--file-source {MANIFESTS} needs a source and a lake that are folders: choose {BINARY_FILE}"
        )


def choose_discovery(
    source: Source, lake: Lake, settings: IngestSettings, max_files: int, index: ImageIndex
) -> Discovery:
    """Return what the settings select; by default manifests if source and lake are folders."""
    default = MANIFESTS if _are_folders(source, lake) else BINARY_FILE
    if (settings.file_source or default) == BINARY_FILE:
        return BinaryFileDiscovery(source, lake, max_files)
    return ManifestDiscovery(source, lake, max_files, index)


def _are_folders(source: Source, lake: Lake) -> bool:
    return not is_s3(source.root) and not is_s3(lake.root)
