"""Request an orderly stop of the process that writes a lake, and wait for it."""

from __future__ import annotations

import time

from streaming.errors import ExternalError
from streaming.lake.layout import Lake
from streaming.lease.acquire import lease_owner
from streaming.lease.holder import Holder
from streaming.maintenance.requests import Request, cancel, poll_result, submit

#: The kind of this request. Its argument is the ID of the owner, so that the next owner ignores it.
STOP = "stop"
_POLL = 0.5  # seconds


def stop(lake: Lake, timeout: float = 600.0) -> Holder | None:
    """Request a stop of the process that writes a lake, and wait until it has released the lease.

    Parameters
    ----------
    lake : Lake
    timeout : float
        Seconds.

    Returns
    -------
    Holder, optional
        The process that was stopped; None if no process was writing.

    Raises
    ------
    ExternalError
        If it has not stopped in time. The request is canceled.
    """
    holder = lease_owner(lake)
    if holder is None:
        return None
    request = Request(STOP, {"holder": holder.id})
    submit(lake, request)
    deadline = time.monotonic() + timeout
    try:
        while (owner := lease_owner(lake)) and owner.id == holder.id:
            if time.monotonic() > deadline:
                raise ExternalError(
                    f"{holder} did not stop within {timeout:.0f} s: it may be paused; kill that process"
                )
            time.sleep(_POLL)
    finally:
        cancel(lake, request)
        poll_result(lake, request)
    return holder
