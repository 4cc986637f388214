"""Submit a maintenance request to the running stream, or execute it here if no stream is running."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from streaming.delta.log import parse_actions, parse_metadata
from streaming.delta.writer import SWEEP
from streaming.errors import ExternalError, LeaseError
from streaming.featurize.failure_rate import FailureRate
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.featurize.scheduler import PartScheduler
from streaming.ingest.pipeline import open_microbatch
from streaming.ingest.settings import IMAGES_PER_PART_PER_CORE, IngestSettings
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease, lease_owner
from streaming.lease.holder import Lease
from streaming.maintenance.context import OperationContext
from streaming.maintenance.operations import perform
from streaming.maintenance.requests import JSON, Request, cancel, poll_result, submit
from streaming.sources.listing import Source
from streaming.spark.session import start_session
from streaming.storage.interface import StoredFile, is_s3
from streaming.storage.open import open_storage

_POLL = 0.5  # seconds
_RECENT = 100  # commits
_SETTLE_TIMEOUT = 3600.0  # seconds: a request waits for the micro-batch under way


def submit_and_wait(
    lake: Lake,
    request: Request,
    settings: IngestSettings | None = None,
    timeout: float = _SETTLE_TIMEOUT,
) -> dict[str, JSON]:
    """Have a request carried out.

    The stream that holds the lake does it; should that end before it answers, or where there is none, this process
    takes the lake and does it itself.

    Parameters
    ----------
    lake : Lake
    request : Request
        Its argument ``source``, where it has one, names the source; else it is the one that the last commit names.
    settings : IngestSettings, optional
        With which images are taken here.
    timeout : float
        Seconds to wait for a stream's answer.

    Returns
    -------
    dict of str to JSON
        As the function of `streaming.maintenance.operations.KINDS` returns it.

    Raises
    ------
    ExternalError
        When the stream has not answered in time; the request stays.
    PomonaError
        Where carrying it out ended in one.
    """
    until = time.monotonic() + timeout
    left = False
    while True:
        with ExitStack() as stack:
            try:
                lease = (
                    stack.enter_context(acquire_lease(lake)) if lease_owner(lake) is None else None
                )
            except LeaseError:  # somebody was first
                lease = None
            if lease:
                if left:
                    cancel(lake, request)
                    found = poll_result(lake, request)
                    if found is not None:
                        return found
                return execute_locally(lake, request, lease, settings or IngestSettings())
        if not left:
            submit(lake, request)
            left = True
        found = _look(lake, request)
        if found is not None:
            return found
        if time.monotonic() > until:
            raise ExternalError(
                f"no answer to {request.kind} from the stream of {lake.root} within {timeout:.0f} s: "
                "it does it when it comes to it"
            )


def _look(lake: Lake, request: Request) -> dict[str, JSON] | None:
    """Wait a little for the answer; Ctrl-C takes the request back."""
    try:
        time.sleep(_POLL)
        return poll_result(lake, request)
    except KeyboardInterrupt:
        cancel(lake, request)
        raise


def execute_locally(
    lake: Lake, request: Request, lease: Lease, settings: IngestSettings
) -> dict[str, JSON]:
    """Carry a request out in this process, which holds the lake.

    Raises
    ------
    PomonaError
        In one line.
    """
    location = request.arguments.get("source") or last_source(lake)
    source = Source.at(location) if location else None
    spark = start_session(s3=is_s3(lake.root) or bool(source and is_s3(source.root)))
    lease.guard(spark)

    def take(batch: MicroBatch, files: Sequence[StoredFile]) -> list[BatchResult]:
        part = IMAGES_PER_PART_PER_CORE * spark.sparkContext.defaultParallelism
        overlap = PartScheduler(batch, part, lambda: False, FailureRate(settings.max_failure_rate))
        try:
            return list(overlap.take(files, SWEEP))
        finally:
            overlap.close()

    def open_here() -> MicroBatch:
        return open_microbatch(source or Source(""), settings, lease)

    return perform(OperationContext(lease.lake, spark, source, open_here, take), request)


def last_source(lake: Lake) -> str | None:
    """The source that the latest commits of a lake's tables name; None where none does."""
    storage = open_storage(lake.root)
    for table in (lake.features, lake.quarantine):
        log = (file.path for file in storage.list(f"{table}/_delta_log"))
        for path in sorted((path for path in log if path.endswith(".json")), reverse=True)[
            :_RECENT
        ]:
            for action in parse_actions(path, storage.read(path), b'"commitInfo"'):
                told = parse_metadata(action.get("commitInfo", {}).get("userMetadata"))
                if "source" in told:
                    return str(told["source"])
    return None
