"""How a run finds new images: with Spark's file source `binaryFile`, or with manifests of its own listing."""

from __future__ import annotations

import heapq
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
from streaming.storage.interface import StoredFile, from_spark, is_s3

#: Micro-batches after which a query over manifests gets a new checkpoint: every tenth of them, Spark writes the names
#: of all earlier manifests to a file again.
MAX_BATCHES = 1000


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

    def has_caught_up(self, query: StreamingQuery, delivered: int | None) -> bool:
        """Return whether the query has delivered all images; `delivered` is the size of its last micro-batch."""


class BinaryFileDiscovery:
    """Spark's file source `binaryFile`, which lists the whole source at each trigger."""

    max_batches = None
    error = None

    def __init__(self, source: Source, lake: Lake, max_files: int) -> None:
        self.lake = lake
        self._source, self._max_files = source, max_files

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
        # Java reads each invalid byte of a name as U+FFFD, so that two files may have the same path.
        listed = {
            file.path: file for file in (StoredFile(from_spark(uri), *rest) for uri, *rest in rows)
        }
        return [file for file in listed.values() if self._source.is_image(file.path)]

    def committed(self) -> None:
        """Do nothing."""

    def has_caught_up(self, query: StreamingQuery, delivered: int | None) -> bool:
        """Return whether the last micro-batch was not full."""
        if delivered is None:
            return str(query.status["message"]).startswith("Waiting for")
        return delivered < self._max_files


class ManifestDiscovery:
    """Manifests of the new images in a folder, see `streaming.sources.arrivals`."""

    max_batches = MAX_BATCHES

    def __init__(self, source: Source, lake: Lake, max_files: int, index: ImageIndex) -> None:
        # A checkpoint of its own: the log of `binaryFile` contains the paths of the images.
        self.lake = lake.for_manifests()
        self._arrivals, self._index = Arrivals(source, lake.arrivals, max_files), index
        self._max_files = max_files

    @property
    def error(self) -> Exception | None:
        """The error for which no more images are found."""
        return self._arrivals.error

    def list_all(self) -> Iterator[StoredFile]:
        """List all images, before the query starts."""
        return self._arrivals.list_all()

    def plan(self, new: Iterable[StoredFile]) -> tuple[int, list[StoredFile]]:
        """Return the number of the images, and the oldest ones, which are delivered first."""
        files = sorted(new, key=lambda file: file.modified_ms)
        self._arrivals.add(files)
        delivered = (file for file in files if file.length)
        return len(files), list(islice(delivered, self._max_files))

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

    def has_caught_up(self, query: StreamingQuery, delivered: int | None) -> bool:
        """Return whether Spark has read all manifests."""
        return self._arrivals.is_empty


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
