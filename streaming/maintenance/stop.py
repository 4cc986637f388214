"""Request an orderly stop of the process that writes a lake, and wait for it."""

from __future__ import annotations

import time

from streaming.errors import ExternalError
from streaming.lake.layout import Lake
from streaming.lease.acquire import lease_owner
from streaming.lease.holder import Holder
from streaming.maintenance.requests import Request, cancel, poll_result, submit

#: The request to end, addressed to a holder of the lake by its id: the next one is not meant.
STOP = "stop"
_POLL = 0.5  # seconds


def stop(lake: Lake, timeout: float = 600.0) -> Holder | None:
    """Have the process that holds a lake end in order, and wait for its end.

    Parameters
    ----------
    lake : Lake
    timeout : float
        Seconds.

    Returns
    -------
    Holder, optional
        Who held the lake until now; None where nobody did.

    Raises
    ------
    ExternalError
        When it has not ended in time; the request is taken back.
    """
    holder = lease_owner(lake)
    if holder is None:
        return None
    request = Request(STOP, {"holder": holder.id})
    submit(lake, request)
    until = time.monotonic() + timeout
    try:
        while (now := lease_owner(lake)) and now.id == holder.id:
            if time.monotonic() > until:
                raise ExternalError(
                    f"{holder} did not stop within {timeout:.0f} s: it may be paused; kill that process"
                )
            time.sleep(_POLL)
    finally:
        cancel(lake, request)
        poll_result(lake, request)
    return holder
