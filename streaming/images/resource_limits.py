"""Limit the memory and CPU time of one image through the kernel: Python cannot interrupt a loop in C code."""

from __future__ import annotations

import mmap
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Limit of CPU time for one image: about a thousand times what a photograph needs.
MAX_CPU_SECONDS = 60.0
#: Memory in bytes that decoding may use in addition to the pixels and to prefetched files.
MEMORY_HEADROOM = 128 * 2**20

_STATM = Path(
    "/proc/self/statm"
)  # Linux only; on other systems memory is limited by the number of pixels alone
_OOM_SCORE_ADJ = Path("/proc/self/oom_score_adj")
_WORKER_OOM_SCORE_ADJ = 500  # counts like half of the machine's memory


@contextmanager
def limit_cpu_time(seconds: float) -> Iterator[None]:
    """Kill this process with SIGPROF if the block uses more CPU time than this, summed over all threads.

    The default action of the signal is kept, because Python would delay a handler. Use it only in processes that can be
    replaced.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class HostOutOfMemory(MemoryError):
    """An allocation within the limit failed: the machine is out of memory, and the image is not the cause."""


@contextmanager
def limit_memory(size: int) -> Iterator[None]:
    """Let allocations fail, in all threads, if the memory of this process grows by more than this many bytes.

    Raises
    ------
    MemoryError
        When the block exceeds the limit.
    HostOutOfMemory
        When an allocation fails although the limit permits it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if not _STATM.exists():
        yield
        return
    limit = int(_STATM.read_bytes().split()[5]) * mmap.PAGESIZE + size
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    except MemoryError as error:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        if not _can_allocate(size):
            raise HostOutOfMemory(f"this machine has no {size:,} bytes for an image") from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _can_allocate(size: int) -> bool:
    """Return whether this process can map so many bytes; they are not written."""
    try:
        mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True


def raise_oom_score() -> None:
    """Make the kernel kill this process before Java when memory runs out: a worker can be replaced."""
    try:
        if int(_OOM_SCORE_ADJ.read_text()) < _WORKER_OOM_SCORE_ADJ:
            _OOM_SCORE_ADJ.write_text(str(_WORKER_OOM_SCORE_ADJ))
    except (OSError, ValueError):  # not Linux, or not permitted
        return


def describe_exit(exit_code: int | None, seconds: float) -> str:
    """Describe why the process that decoded an image ended; `seconds` was its limit of CPU time."""
    if exit_code == -signal.SIGPROF:
        return f"decoding uses more than {seconds:g} s of CPU time (--max-cpu-seconds)"
    if exit_code == -signal.SIGKILL:
        return "the decoding process was killed (SIGKILL), probably because memory ran out"
    if exit_code is not None and exit_code < 0:
        return f"the decoding process was killed by {signal.Signals(-exit_code).name}"
    if exit_code == os.EX_OSERR:
        return "the decoding process could not allocate memory"
    return f"the decoding process exited with status {exit_code}"
