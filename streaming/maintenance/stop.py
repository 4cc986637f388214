"""Asking the process that holds a lake to end in order, and waiting for its end."""

from __future__ import annotations

import time

from streaming.errors import FaultError
from streaming.lake.layout import Lake
from streaming.lease.acquire import holder_of
from streaming.lease.holder import Holder
from streaming.maintenance.requests import Request, find_answer, leave, withdraw

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
    FaultError
        When it has not ended in time; the request is taken back.
    """
    holder = holder_of(lake)
    if holder is None:
        return None
    request = Request(STOP, {"holder": holder.id})
    leave(lake, request)
    until = time.monotonic() + timeout
    try:
        while (now := holder_of(lake)) and now.id == holder.id:
            if time.monotonic() > until:
                raise FaultError(
                    f"{holder} has not ended within {timeout:.0f} s: it may be paused; end that process"
                )
            time.sleep(_POLL)
    finally:
        withdraw(lake, request)
        find_answer(lake, request)
    return holder
