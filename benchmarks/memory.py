"""Memory of a contestant's processes while it runs, looked at from outside."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

try:
    import psutil
except ImportError:  # of the extra `bench`: without it, memory is not told
    psutil = None
#: Seconds between two looks. Each walks all pages of all processes; one a second took 6 % of a stream's speed, and
#: nothing from contestants without a JVM.
INTERVAL = 5.0
MB = 2**20


def is_worker(words: list[str], parent: list[str]) -> bool:
    """Whether a process does the work of one core, by its command line and its parent's.

    A fork of PySpark's daemon, a process that Python's `multiprocessing` spawned, an actor of Ray, a worker of Daft.
    """
    if "pyspark.worker" in words:
        return "pyspark.worker" in parent
    marks = ("spawn_main", "ray::MapWorker", "daft.execution.udf_worker")
    return any(mark in word for word in words for mark in marks)


class MemoryWatch(threading.Thread):
    """Looks at a tree of processes until it is told to stop.

    A worker's memory is told thrice: RSS counts pages that forked workers share in each of them, PSS an equal part
    of those, USS none.

    Parameters
    ----------
    pid : int
        The tree's root.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil and psutil.Process(pid)
        self._stopped = threading.Event()
        self.peaks = {"worker_rss": 0.0, "worker_pss": 0.0, "worker_uss": 0.0, "all_pss": 0.0}

    def run(self) -> None:
        """Look, and wait."""
        while self._root and not self._stopped.wait(INTERVAL):
            with suppress(psutil.Error):
                self._look()

    def stop(self) -> dict[str, float]:
        """The peaks in MB; 0 for what was not seen."""
        self._stopped.set()
        self.join()
        return {name: round(value, 1) for name, value in self.peaks.items()}

    def _look(self) -> None:
        processes = [self._root, *self._root.children(recursive=True)]
        told = {process.pid: _command(process) for process in processes}
        total = 0.0
        for process in processes:
            with suppress(psutil.Error):
                memory: Any = process.memory_full_info()
                shared = getattr(memory, "pss", 0) or memory.uss  # macOS knows no PSS
                total += shared / MB
                if is_worker(told[process.pid], told.get(process.ppid(), [])):
                    for name, value in (("rss", memory.rss), ("pss", shared), ("uss", memory.uss)):
                        self._raise(f"worker_{name}", value / MB)
        self._raise("all_pss", total)

    def _raise(self, name: str, value: float) -> None:
        self.peaks[name] = max(self.peaks[name], value)


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []
