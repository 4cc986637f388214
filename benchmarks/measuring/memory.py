"""Sample the memory of a competitor's process tree from outside while it runs."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

try:
    import psutil
except ImportError:  # part of the extra `bench`; without it, memory is not measured
    psutil = None
#: Seconds between samples. A sample walks all pages of all processes: with one per second, a stream was 6 % slower;
#: competitors without a JVM were not affected.
INTERVAL = 5.0
MB = 2**20


def is_worker(command: list[str], parent: list[str]) -> bool:
    """Return whether a process is a worker, judged by its own and its parent's command line.

    Workers are forks of PySpark's daemon, processes spawned by `multiprocessing`, Ray actors and Daft workers.
    """
    if "pyspark.worker" in command:
        return "pyspark.worker" in parent
    markers = ("spawn_main", "ray::MapWorker", "daft.execution.udf_worker")
    return any(marker in argument for argument in command for marker in markers)


class MemoryMonitor(threading.Thread):
    """Record the peak memory of a process tree until it is stopped.

    For workers it records three figures: RSS counts shared pages in each forked worker, PSS divides them among the
    workers, USS leaves them out.

    Parameters
    ----------
    pid : int
        The root of the tree.
    interval : float
        Seconds between samples.
    """

    def __init__(self, pid: int, interval: float = INTERVAL) -> None:
        super().__init__(daemon=True)
        self._interval = interval
        self._root = psutil and psutil.Process(pid)
        self._stopped = threading.Event()
        self.peaks = {"worker_rss": 0.0, "worker_pss": 0.0, "worker_uss": 0.0, "all_pss": 0.0}

    def run(self) -> None:
        """Take a sample every `interval` seconds until `stop` is called."""
        while self._root and not self._stopped.wait(self._interval):
            with suppress(psutil.Error):
                self._sample()

    def stop(self) -> dict[str, float]:
        """Stop sampling and return the peaks in MB; 0 if there was no sample."""
        self._stopped.set()
        self.join()
        return {name: round(value, 1) for name, value in self.peaks.items()}

    def _sample(self) -> None:
        processes = [self._root, *self._root.children(recursive=True)]
        commands = {process.pid: _command(process) for process in processes}
        total = 0.0
        for process in processes:
            with suppress(psutil.Error):
                memory: Any = process.memory_full_info()
                proportional = getattr(memory, "pss", 0) or memory.uss  # macOS has no PSS
                total += proportional / MB
                if is_worker(commands[process.pid], commands.get(process.ppid(), [])):
                    self._record("worker_rss", memory.rss / MB)
                    self._record("worker_pss", proportional / MB)
                    self._record("worker_uss", memory.uss / MB)
        self._record("all_pss", total)

    def _record(self, name: str, value: float) -> None:
        self.peaks[name] = max(self.peaks[name], value)


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []
