"""Serve maintenance requests in a running stream.

A watcher thread polls the request queue; the main thread executes requests between micro-batches.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from streaming.errors import PomonaError
from streaming.featurize.scheduler import StopRequested
from streaming.lease.holder import Lease
from streaming.maintenance.context import OperationContext
from streaming.maintenance.operations import perform_and_answer
from streaming.maintenance.requests import Request, answer, cancel, pending
from streaming.maintenance.stop import STOP
from streaming.storage.interface import TransientError, is_s3

log = logging.getLogger(__name__)

# Seconds between two looks: a listing costs a request on S3.
_EVERY, _EVERY_ON_S3 = 1.0, 5.0
_A_MOMENT = 0.1  # seconds for which the main thread waits for its turn


class RequestHandler:
    """What commands ask of the stream that holds a lake; nothing reaches a run without a lease."""

    def __init__(self, context: OperationContext, lease: Lease | None) -> None:
        self.waiting = False
        self._context, self._lease, self._ended = context, lease, threading.Event()
        self._every = _EVERY_ON_S3 if is_s3(context.lake.root) else _EVERY

    @contextmanager
    def watched(self, stop: threading.Event) -> Iterator[None]:
        """Look for requests while the block runs; `stop` is set by one to end, and where the lease is lost."""
        if self._lease is None:
            yield
            return
        watching = threading.Thread(
            target=self._watch, args=[self._lease, stop], name="requests", daemon=True
        )
        watching.start()
        try:
            yield
        finally:
            self._ended.set()
            watching.join()

    def carry_out(self, one_at_a_time: threading.Lock) -> None:
        """Carry out what was found, the oldest first, unless a micro-batch is under way."""
        if not self.waiting or not one_at_a_time.acquire(timeout=_A_MOMENT):
            return
        try:
            self.waiting = False
            for request in pending(self._context.lake):
                if request.kind != STOP:
                    perform_and_answer(self._context, request)
        except StopRequested:
            log.debug(
                "a stop was asked for: what is not answered is done by the next one, or the asker"
            )
        finally:
            one_at_a_time.release()

    def _watch(self, lease: Lease, stop: threading.Event) -> None:
        while True:
            if lease.lost:
                stop.set()
                return
            try:
                found = pending(self._context.lake)
                for request in found:
                    if request.kind == STOP:
                        self._stop(request, lease, stop)
                self.waiting = any(request.kind != STOP for request in found)
            except (TransientError, PomonaError, OSError) as error:
                log.debug("requests could not be looked for: %s", error)
            if self._ended.wait(self._every):
                return

    def _stop(self, request: Request, lease: Lease, stop: threading.Event) -> None:
        if request.arguments.get("holder") == lease.holder.id:
            stop.set()
            answer(self._context.lake, request, {"stopping": True})
        else:
            cancel(self._context.lake, request)
