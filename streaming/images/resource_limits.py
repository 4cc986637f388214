"""Limit the memory and CPU time of one image through the kernel: a loop in C code receives no Python signal."""

from __future__ import annotations

import mmap
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Of the processor's time, for one image: a thousand times what a photograph takes.
MAX_CPU_SECONDS = 60.0
#: Bytes that decoding may take beside what the pixels explain, and beside files that are read ahead.
MEMORY_HEADROOM = 128 * 2**20

_HELD = Path("/proc/self/statm")  # Linux; elsewhere memory has no bound but that of the pixels
_VOLUNTEER = Path("/proc/self/oom_score_adj")
_VOLUNTEERS = "500"  # half of the memory, in the kernel's eyes


@contextmanager
def limit_cpu_time(seconds: float) -> Iterator[None]:
    """End this process by SIGPROF where the block takes more seconds of its processor time, all threads together.

    The signal is left to its default, which is not Python's to delay. To be used in a process that can be lost.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class HostOutOfMemory(MemoryError):
    """It is not the content that takes too much: the machine has not got what it may take."""


@contextmanager
def limit_memory(more: int) -> Iterator[None]:
    """Let allocations fail, in all threads, that would add more bytes to what this process holds at the start.

    Raises
    ------
    MemoryError
        As of the block, where it asked for more.
    HostOutOfMemory
        Where it failed, and so much cannot be had from the machine.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if not _HELD.exists():
        yield
        return
    limit = int(_HELD.read_bytes().split()[5]) * mmap.PAGESIZE + more
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    except MemoryError as error:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        if not _has_room(more):
            raise HostOutOfMemory(f"this machine has no {more:,} bytes for an image") from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _has_room(size: int) -> bool:
    """Whether the machine would give this process so many bytes: they are asked for, and not touched."""
    try:
        mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True


def raise_oom_score() -> None:
    """Where memory runs out, have the kernel end this process before Java: a worker can be replaced."""
    try:
        if int(_VOLUNTEER.read_text()) < int(_VOLUNTEERS):
            _VOLUNTEER.write_text(_VOLUNTEERS)
    except (OSError, ValueError):  # another system, or one that does not allow it
        return


def describe_exit(exit_code: int | None, seconds: float) -> str:
    """Words for the end of a process that was given `seconds` of processor time for an image."""
    if exit_code == -signal.SIGPROF:
        return f"it takes more than {seconds:g} s of the processor's time (--max-cpu-seconds)"
    if exit_code == -signal.SIGKILL:
        return "the system ended the process that decoded it (SIGKILL), as it does where memory runs out"
    if exit_code is not None and exit_code < 0:
        return f"the process that decoded it ended by {signal.Signals(-exit_code).name}"
    if exit_code == os.EX_OSERR:
        return "the system gave no memory to the process that decoded it"
    return f"the process that decoded it ended with status {exit_code}"
