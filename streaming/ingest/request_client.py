"""Submit a maintenance request to the running stream, or execute it here if no stream is running."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from streaming.delta.writer import SWEEP
from streaming.errors import ExternalError, LeaseError
from streaming.featurize.failure_rate import FailureRate
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.featurize.scheduler import PartScheduler
from streaming.ingest.pipeline import open_microbatch
from streaming.ingest.settings import IMAGES_PER_PART_PER_CORE, IngestSettings
from streaming.lake.history import last_source, recorded_sources
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease, lease_owner
from streaming.lease.holder import Lease
from streaming.maintenance.context import OperationContext
from streaming.maintenance.operations import execute
from streaming.maintenance.requests import JSON, Request, cancel, poll_result, submit
from streaming.sources.listing import Source
from streaming.sources.selection import Selection, read_selection
from streaming.spark.session import start_session
from streaming.storage.interface import StoredFile, is_s3

_POLL = 0.5  # seconds
_ANSWER_TIMEOUT = 3600.0  # seconds: a request waits for the current micro-batch


def submit_and_wait(
    lake: Lake,
    request: Request,
    settings: IngestSettings | None = None,
    timeout: float = _ANSWER_TIMEOUT,
) -> dict[str, JSON]:
    """Submit a request and wait for its result.

    The running stream executes it. If none is running, or the stream ends before it has answered, this process
    acquires the lease and executes the request itself.

    Parameters
    ----------
    lake : Lake
    request : Request
        The source is its argument ``source``, or else the one in the metadata of the latest commit.
    settings : IngestSettings, optional
        Used if images are processed in this process.
    timeout : float
        Seconds to wait for the stream's answer.

    Returns
    -------
    dict of str to JSON
        The result of the operation in `streaming.maintenance.operations.OPERATIONS`.

    Raises
    ------
    ExternalError
        If the stream has not answered in time. The request stays in the queue.
    PomonaError
        If the operation failed.
    """
    deadline = time.monotonic() + timeout
    submitted = False
    while True:
        with ExitStack() as stack:
            try:
                lease = (
                    stack.enter_context(acquire_lease(lake)) if lease_owner(lake) is None else None
                )
            except LeaseError:  # another process was first
                lease = None
            if lease:
                if submitted:
                    cancel(lake, request)
                    found = poll_result(lake, request)
                    if found is not None:
                        return found
                return execute_locally(lake, request, lease, settings or IngestSettings())
        if not submitted:
            submit(lake, request)
            submitted = True
        found = _poll(lake, request)
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise ExternalError(
                f"no answer to {request.kind} from the stream of {lake.root} within {timeout:.0f} s: "
                "the request stays queued and is executed later"
            )


def _poll(lake: Lake, request: Request) -> dict[str, JSON] | None:
    """Wait for `_POLL` seconds, then return the result if there is one; cancel the request on Ctrl-C."""
    try:
        time.sleep(_POLL)
        return poll_result(lake, request)
    except KeyboardInterrupt:
        cancel(lake, request)
        raise


def _selection(lake: Lake, request: Request, source: Source, settings: IngestSettings) -> Selection:
    """Return the selection of a request, or else the stored one, whose links are followed only if `settings` says so.

    The permission to read outside of a source must not come from the lake.
    """
    if "selection" in request.arguments:
        return Selection.from_json(request.arguments["selection"])
    stored = read_selection(lake.sources, source.root)
    return replace(stored, follow_links=settings.follow_links)


def execute_locally(
    lake: Lake, request: Request, lease: Lease, settings: IngestSettings
) -> dict[str, JSON]:
    """Execute a request in this process, which owns the lease.

    Raises
    ------
    PomonaError
        With a one-line message.
    """
    location = request.arguments.get("source") or last_source(lake)
    others = recorded_sources(lake) if request.kind == "retry" else []
    source = Source.at(location) if location else None
    if source:
        source = replace(source, selection=_selection(lake, request, source, settings))
    spark = start_session(s3=is_s3(lake.root) or bool(source and is_s3(source.root)))
    lease.guard(spark)

    def process(batch: MicroBatch, files: Sequence[StoredFile]) -> list[BatchResult]:
        scheduler = PartScheduler(
            batch,
            size=IMAGES_PER_PART_PER_CORE * spark.sparkContext.defaultParallelism,
            stopped=lambda: False,
            rate=FailureRate(settings.max_failure_rate),
        )
        try:
            return list(scheduler.process(files, SWEEP))
        finally:
            scheduler.close()

    def open_batch() -> MicroBatch:
        return open_microbatch(source or Source(""), settings, lease, others)

    context = OperationContext(lease.lake, spark, source, open_batch, process, other_sources=others)
    return execute(context, request)
