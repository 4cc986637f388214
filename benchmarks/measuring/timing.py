"""Stopwatch of a competitor: separates the startup of the program from its work."""

from __future__ import annotations

import json
import os
import time
from typing import Any

#: Environment variable with the time at which the caller started the program.
STARTED_AT = "POMONA_BENCHMARK_STARTED_AT"


class Stopwatch:
    """Measure the time from the first work of a competitor to its last visible row."""

    def __init__(self) -> None:
        # The caller's time includes the start of Python.
        self._launched = float(os.environ.get(STARTED_AT, time.time()))
        self._started = self._launched

    def start(self) -> None:
        """End the startup phase and start timing the work."""
        self._started = time.time()

    def stop(self, count: int, **more: Any) -> None:
        """Print the result as one line of JSON.

        Parameters
        ----------
        count : int
            Number of processed images or rows.
        **more
            Further fields of the result.
        """
        seconds = time.time() - self._started
        startup = self._started - self._launched
        print(
            json.dumps({"count": count, "seconds": seconds, "startup": startup} | more), flush=True
        )
