"""Identify an exhausted resource that ended a run: disk space, Java's memory, a worker's memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from streaming.cache_dir import temporary_folder
from streaming.errors import ExternalError
from streaming.signals import replaces_interrupt
from streaming.storage.interface import is_s3, local_path

_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
_JAVA_OUT_OF_MEMORY = re.compile(r"java\.lang\.OutOfMemoryError|System memory \d+ must be at least")
_JAVA_UNREACHABLE = re.compile(
    r"Py4JNetworkError|Answer from Java|Connection(?:Refused|Reset)Error"
)
_WORKER_DIED = re.compile(r"Python worker exited unexpectedly|ExecutorLostFailure")
_RESUME = "no data was lost; rerun the same command to resume"
_OUT_OF_MEMORY, _KILLED = (
    3,
    -9,
)  # exit status of Java: after -XX:+ExitOnOutOfMemoryError, after SIGKILL
_JAVA_EXIT_TIMEOUT = 5.0  # seconds between Java's last output and its exit status


def explain_exhaustion(error: BaseException, lake: str = "") -> ExternalError | None:
    """Identify the exhausted resource, and return an error with the remedy.

    Parameters
    ----------
    error : BaseException
        Raised by Spark, Py4J or the system; its text includes stack traces and causes.
    lake : str
        Root of the lake, as a normalized URI.

    Returns
    -------
    ExternalError or None
        None if the run ended for another reason.
    """
    text = _describe(error)
    if _DISK_FULL.search(text):
        return ExternalError(
            f"No space left on device: {_fullest_disk(lake)}; free some space ({_RESUME})"
        )
    if is_out_of_memory(error):
        return ExternalError(f"{more_memory()} ({_RESUME})")
    status = _java_exit_status()
    if status is not None:
        how = "was killed, possibly by the kernel for lack of memory"
        how = how if status == _KILLED else f"exited with status {status}"
        return ExternalError(f"Java {how}: check this machine's free memory ({_RESUME})")
    if _WORKER_DIED.search(text):
        return ExternalError(
            f"the worker processes died repeatedly: free memory on their machine ({_RESUME})"
        )
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error was raised because Java's memory was exhausted; Java has then ended, or will soon."""
    text = _describe(error)
    is_unreachable = _JAVA_UNREACHABLE.search(text) and not replaces_interrupt(error)
    status = _java_exit_status(_JAVA_EXIT_TIMEOUT if is_unreachable else 0)
    return status == _OUT_OF_MEMORY or bool(_JAVA_OUT_OF_MEMORY.search(text))


def java_has_ended() -> bool:
    """Return whether the Java started by this process has ended, so that Spark cannot be used any more."""
    return _java_exit_status() is not None


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _fullest_disk(lake: str) -> str:
    """Describe the disk with the least free space among those that a run writes to."""
    folders = [temporary_folder()]
    if lake and not is_s3(lake):
        root = local_path(lake)
        folders += [root, *(root.iterdir() if root.is_dir() else ())]
    free = {folder: shutil.disk_usage(_existing(folder)).free for folder in folders}
    fullest = min(folders, key=lambda folder: (free[folder], len(folder.parts)))  # the outermost
    return f"the disk of {fullest} has {free[fullest] / 2**20:,.0f} MB left"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _java_exit_status(seconds: float = 0) -> int | None:
    """Wait for the Java started by this process; return its exit status, or None if it runs or there is none."""
    context = getattr(sys.modules.get("pyspark"), "SparkContext", None)
    java = getattr(getattr(context, "_gateway", None), "proc", None)
    if java is None:
        return None
    with suppress(subprocess.TimeoutExpired):
        java.wait(seconds)
    return java.poll()  # type: ignore[no-any-return]


def more_memory() -> str:
    """Return that Java's memory is not enough, and the setting to change."""
    from streaming.spark.local_environment import MEMORY_VARIABLE
    from streaming.spark.session import driver_memory

    memory = driver_memory()
    doubled = re.sub(r"^\d+", lambda number: str(2 * int(number[0])), memory)
    return f"Java's memory of {memory} is not enough: set {MEMORY_VARIABLE}={doubled} or more"
