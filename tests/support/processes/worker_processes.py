"""Measure the Python workers of a Spark application through /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def worker_peak_memory(driver: int | None = None) -> dict[int, int]:
    """Return the peak memory in bytes of each worker and of each of its child processes, by process id.

    Parameters
    ----------
    driver : int, optional
        Process id of the driver; this process by default.
    """
    parents, peaks = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        number = int(folder.name)
        parents[number] = int(fields["PPid"])
        if "VmHWM" in fields and b"java" not in command.split(b"\0")[0]:
            peaks[number] = int(fields["VmHWM"].split()[0]) * 1024

    def ancestors(number: int) -> Iterator[int]:
        while number := parents.get(number, 0):
            yield number

    # Java starts the daemon, which forks the workers; all have the command line of the daemon.
    java = {parents[number] for number in parents if _is_daemon(number)} - set(peaks)
    return {
        number: peak
        for number, peak in peaks.items()
        if (driver or os.getpid()) in ancestors(number) and java & set(list(ancestors(number))[1:])
    }


def _is_daemon(number: int) -> bool:
    try:
        return b"worker_daemon" in Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False
