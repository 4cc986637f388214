"""Pause, resume and kill a process with all its descendants; Spark's workers have their own process groups."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def process_tree(pid: int) -> list[int]:
    """Return the process and its descendants, parents first."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # the process ended
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def pause(pid: int) -> None:
    """Stop the process tree, including processes that are started meanwhile."""
    stopped: set[int] = set()
    while new := set(process_tree(pid)) - stopped:
        for member in new:
            _send(member, signal.SIGSTOP)
        stopped |= new


def resume(pid: int) -> None:
    """Continue the process tree."""
    for member in reversed(process_tree(pid)):
        _send(member, signal.SIGCONT)


def kill(pid: int) -> None:
    """Kill the process tree, paused or not."""
    pause(pid)
    for member in process_tree(pid):
        _send(member, signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
