"""What the process that holds a lake can be asked to do, and with what it does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import SparkSession

from streaming import __version__
from streaming.errors import LeaseError, PomonaError, UsageError
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.forgetting import forget
from streaming.lake.image_index import KnownImages
from streaming.lake.layout import Lake
from streaming.lake.retention import KEEP, keep
from streaming.reconciling import mend
from streaming.requests import JSON, Request, answer, answer_with_error
from streaming.retrying import retry
from streaming.sources.listing import Source
from streaming.spark.errors import in_one_line
from streaming.storage.interface import StoredFile


@dataclass
class RunContext:
    """With what a request is carried out: in a stream what that has, elsewhere what is opened for it.

    Parameters
    ----------
    lake : Lake
        Held by this process.
    spark : SparkSession
    source : Source, optional
        Where the lake's images come from; None where it has none yet.
    open_batch : callable
        Gives the stream's `MicroBatch`, or opens one.
    take_files : callable
        Takes files as the sweep does, and tells what came of each part; the stream counts them in.
    known : KnownImages, optional
        What a stream holds in memory of the lake; None where no stream runs.
    """

    lake: Lake
    spark: SparkSession
    source: Source | None
    open_batch: Callable[[], MicroBatch]
    take_files: Callable[[MicroBatch, Sequence[StoredFile]], Sequence[BatchResult]]
    known: KnownImages | None = None

    @cached_property
    def batch(self) -> MicroBatch:
        """The pipeline; where no stream runs, the network is loaded at the first use."""
        return self.open_batch()

    def take(self, files: Sequence[StoredFile]) -> Sequence[BatchResult]:
        """Bring files into exactly one table each."""
        return self.take_files(self.batch, files)


#: The kinds of requests. Each may be repeated, whole or in part, where the process was killed before its answer.
#: A stop is none of them: it does not wait for the micro-batch under way (`streaming.errands`).
KINDS: dict[str, Callable[[RunContext, dict[str, JSON]], dict[str, JSON]]] = {
    "retry": retry,
    "forget": forget,
    "reconcile": mend,
    KEEP: keep,
}


def perform(context: RunContext, request: Request) -> dict[str, JSON]:
    """Do what is asked for.

    Raises
    ------
    PomonaError
        In one line, also for what Spark or the storage raised.
    """
    if request.kind not in KINDS:
        raise UsageError(
            f"{request.kind}: Pomona {__version__}, which holds the lake, knows no such request: "
            "use the same version for both"
        )
    with in_one_line():
        return KINDS[request.kind](context, request.arguments)


def perform_and_answer(context: RunContext, request: Request) -> None:
    """Do what is asked for, and answer; an error is the asker's, and the stream goes on.

    Raises
    ------
    LeaseError
        Where another process has taken the lake over, which then does it.
    """
    try:
        result = perform(context, request)
    except LeaseError:
        raise
    except PomonaError as error:
        answer_with_error(context.lake, request, error)
    else:
        answer(context.lake, request, result)
