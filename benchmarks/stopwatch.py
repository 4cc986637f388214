"""A contestant's own clock: what it needs to start is told apart from its work."""

from __future__ import annotations

import json
import os
import time
from typing import Any

STARTED_AT = "POMONA_BENCHMARK_STARTED_AT"


class Stopwatch:
    """Started when a contestant could begin its work, stopped when its last row can be read."""

    def __init__(self) -> None:
        # The program's start as its caller saw it, Python's own included.
        self._called = float(os.environ.get(STARTED_AT, time.time()))
        self._began = self._called

    def start(self) -> None:
        """What came before was start-up, what follows is work."""
        self._began = time.time()

    def stop(self, count: int, **more: Any) -> None:
        """Print the result as one line of JSON.

        Parameters
        ----------
        count : int
            Images or rows done.
        **more
            What else is worth telling.
        """
        seconds = time.time() - self._began
        startup = self._began - self._called
        print(
            json.dumps({"count": count, "seconds": seconds, "startup": startup} | more), flush=True
        )
