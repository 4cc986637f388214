"""The environment of an operation: the lake, Spark, the source and the micro-batch of the running stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import SparkSession

from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile, is_below, is_s3


@dataclass
class OperationContext:
    """The environment of an operation: the objects of the running stream, or objects created for one request.

    Parameters
    ----------
    lake : Lake
        This process owns its lease.
    spark : SparkSession
    source : Source, optional
        The source of the lake's images; None if the lake has none yet.
    open_microbatch : callable
        Returns the stream's `MicroBatch`, or creates one.
    process_files : callable
        Processes files outside of the streaming query, and returns the result of each part. A stream adds them to
        its summary.
    image_index : ImageIndex, optional
        The stream's index of the lake; None if no stream is running.
    other_sources : sequence of str
        Other sources of the lake that may be read. A stream reads only its own.
    let_stream_continue : callable
        Returns a context manager: while its block runs, the stream may commit micro-batches. Otherwise the operation is
        the only writer.
    stopped : callable
        Returns whether a stop of the stream was requested, or the stream has failed.
    """

    lake: Lake
    spark: SparkSession
    source: Source | None
    open_microbatch: Callable[[], MicroBatch]
    process_files: Callable[[MicroBatch, Sequence[StoredFile]], Sequence[BatchResult]]
    image_index: ImageIndex | None = None
    other_sources: Sequence[str] = ()
    let_stream_continue: Callable[[], AbstractContextManager[None]] = nullcontext
    stopped: Callable[[], bool] = lambda: False

    def is_own(self, path: str) -> bool:
        """Return whether an image is below a source that this process may read; a row may name any file."""
        if not is_s3(path) and os.path.normpath(path) != path:  # "..": names another file
            return False
        roots = [*self.other_sources, *([self.source.root] if self.source else [])]
        return any(is_below(path, root) for root in roots if root)

    @cached_property
    def batch(self) -> MicroBatch:
        """The micro-batch. If no stream is running, the first access loads the network."""
        return self.open_microbatch()

    def process(self, files: Sequence[StoredFile]) -> Sequence[BatchResult]:
        """Featurize files, and write each to the features or to the quarantine."""
        return self.process_files(self.batch, files)
