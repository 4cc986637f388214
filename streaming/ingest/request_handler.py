"""Serve maintenance requests in a running stream.

A watcher thread polls the request queue; the main thread executes requests between micro-batches. `reconcile` lists
and compares the source while they continue.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from streaming.errors import PomonaError
from streaming.featurize.stopping import StopRequested
from streaming.lease.holder import Lease
from streaming.maintenance.context import OperationContext
from streaming.maintenance.operations import execute_and_answer
from streaming.maintenance.requests import Request, cancel, pending_requests, write_result
from streaming.maintenance.stop import STOP
from streaming.storage.interface import TransientError, is_s3

log = logging.getLogger(__name__)

# Seconds between two polls; on S3 each poll costs a request.
_POLL, _POLL_ON_S3 = 1.0, 5.0
_LOCK_TIMEOUT = 0.1  # seconds for which the main thread waits for a micro-batch to end


class RequestHandler:
    """Serves the requests that commands submit to the running stream; a run without a lease serves none."""

    def __init__(self, context: OperationContext, lease: Lease | None) -> None:
        self._has_pending = False
        self._context, self._lease, self._ended = context, lease, threading.Event()
        self._poll = _POLL_ON_S3 if is_s3(context.lake.root) else _POLL

    @contextmanager
    def polling(self, stop: threading.Event) -> Iterator[None]:
        """Poll for requests while the block runs; set `stop` on a stop request and if the lease is lost."""
        if self._lease is None:
            yield
            return
        watcher = threading.Thread(
            target=self._watch, args=[self._lease, stop], name="requests", daemon=True
        )
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
            watcher.join()

    def handle_pending(self, processing: threading.Lock) -> None:
        """Execute the requests found, oldest first, unless a micro-batch is being processed."""
        if not self._has_pending or not processing.acquire(timeout=_LOCK_TIMEOUT):
            return
        try:
            self._has_pending = False
            for request in self._read_pending():
                if request.kind != STOP:
                    execute_and_answer(self._context, request)
        except StopRequested:
            log.debug(
                "stop requested: unanswered requests are left to the next stream or to their client"
            )
        finally:
            processing.release()

    def _read_pending(self) -> list[Request]:
        try:
            return pending_requests(self._context.lake)
        except (TransientError, OSError) as error:
            log.debug("cannot read the requests: %s", error)  # the next poll finds them again
            return []

    def _watch(self, lease: Lease, stop: threading.Event) -> None:
        while True:
            if lease.lost:
                stop.set()
                return
            try:
                found = pending_requests(self._context.lake)
                for request in found:
                    if request.kind == STOP:
                        self._stop(request, lease, stop)
                self._has_pending = any(request.kind != STOP for request in found)
            except (TransientError, PomonaError, OSError) as error:
                log.debug("cannot poll for requests: %s", error)
            if self._ended.wait(self._poll):
                return

    def _stop(self, request: Request, lease: Lease, stop: threading.Event) -> None:
        if request.arguments.get("holder") == lease.holder.id:
            stop.set()
            write_result(self._context.lake, request, {"stopping": True})
        else:
            cancel(self._context.lake, request)
