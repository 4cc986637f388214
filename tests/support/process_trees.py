"""A process and all that it has started, paused and killed together: Spark's workers have groups of their own."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def family(pid: int) -> list[int]:
    """The process and its descendants, as /proc tells; parents first."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def pause(pid: int) -> None:
    """Stop all of them, and those that they start while this goes on."""
    stopped: set[int] = set()
    while new := set(family(pid)) - stopped:
        for member in new:
            _send(member, signal.SIGSTOP)
        stopped |= new


def wake(pid: int) -> None:
    """Let all of them go on."""
    for member in reversed(family(pid)):
        _send(member, signal.SIGCONT)


def kill(pid: int) -> None:
    """Kill all of them, paused or not."""
    pause(pid)
    for member in family(pid):
        _send(member, signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
