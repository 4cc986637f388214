"""Identify an exhausted resource that ended a run: disk space, Java's memory, a worker's memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from streaming.errors import ExternalError
from streaming.storage.interface import is_s3, local_path

_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
_JAVA_FULL = re.compile(r"java\.lang\.OutOfMemoryError|System memory \d+ must be at least")
_JAVA_SILENT = re.compile(r"Py4JNetworkError|Answer from Java|Connection(?:Refused|Reset)Error")
_WORKER_ENDED = re.compile(r"Python worker exited unexpectedly|ExecutorLostFailure")
_GOES_ON = "no data was lost; rerun the same command to resume"
_FULL, _KILLED = 3, -9  # Java's exit status: of -XX:+ExitOnOutOfMemoryError; of SIGKILL
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
    text = f"{type(error).__name__}: {error}"
    if _NO_ROOM.search(text):
        return ExternalError(
            f"No space left on device: {_fullest(lake)}; make room there ({_GOES_ON})"
        )
    ended = _java_ended(_JAVA_EXIT_TIMEOUT if _JAVA_SILENT.search(text) else 0)
    if _JAVA_FULL.search(text) or ended == _FULL:
        return ExternalError(f"{_more_memory()} ({_GOES_ON})")
    if ended is not None:
        how = "was killed, as where memory runs out" if ended == _KILLED else f"ended ({ended})"
        return ExternalError(f"Java {how}: look at this machine's free memory ({_GOES_ON})")
    if _WORKER_ENDED.search(text):
        return ExternalError(
            f"the workers' processes end again and again: free memory on their machine ({_GOES_ON})"
        )
    return None


def _fullest(lake: str) -> str:
    """Describe the folder that a run writes to whose disk has the least free space."""
    places = [Path(os.environ.get("SPARK_LOCAL_DIRS") or tempfile.gettempdir())]
    if lake and not is_s3(lake):
        root = local_path(lake)
        places += [root, *(root.iterdir() if root.is_dir() else ())]
    free = {place: shutil.disk_usage(_existing(place)).free for place in places}
    fullest = min(places, key=lambda place: (free[place], len(place.parts)))  # the outermost
    return f"the disk of {fullest} has {free[fullest] / 2**20:,.0f} MB left"


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _java_ended(seconds: float) -> int | None:
    """Return the exit status of the Java started by this process; None if it is running or was not started here."""
    context = getattr(sys.modules.get("pyspark"), "SparkContext", None)
    java = getattr(getattr(context, "_gateway", None), "proc", None)
    if java is None:
        return None
    with suppress(subprocess.TimeoutExpired):
        java.wait(seconds)
    return java.poll()  # type: ignore[no-any-return]


def _more_memory() -> str:
    from streaming.spark.session import MEMORY_VARIABLE, driver_memory

    memory = driver_memory()
    twice = re.sub(r"^\d+", lambda number: str(2 * int(number[0])), memory)
    return f"Java's memory of {memory} is too little: set {MEMORY_VARIABLE}={twice} or more"
