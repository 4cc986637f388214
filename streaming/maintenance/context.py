"""What an operation needs to run: the lake, Spark, the source and the micro-batch of the running stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import SparkSession

from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile


@dataclass
class OperationContext:
    """With what a request is carried out: in a stream what that has, elsewhere what is opened for it.

    Parameters
    ----------
    lake : Lake
        Held by this process.
    spark : SparkSession
    source : Source, optional
        Where the lake's images come from; None where it has none yet.
    open_microbatch : callable
        Gives the stream's `MicroBatch`, or opens one.
    process_files : callable
        Takes files as the sweep does, and tells what came of each part; the stream counts them in.
    image_index : ImageIndex, optional
        What a stream holds in memory of the lake; None where no stream runs.
    """

    lake: Lake
    spark: SparkSession
    source: Source | None
    open_microbatch: Callable[[], MicroBatch]
    process_files: Callable[[MicroBatch, Sequence[StoredFile]], Sequence[BatchResult]]
    image_index: ImageIndex | None = None

    @cached_property
    def batch(self) -> MicroBatch:
        """The pipeline; where no stream runs, the network is loaded at the first use."""
        return self.open_microbatch()

    def process(self, files: Sequence[StoredFile]) -> Sequence[BatchResult]:
        """Bring files into exactly one table each."""
        return self.process_files(self.batch, files)
