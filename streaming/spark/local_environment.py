"""The environment variables of local Spark: its launcher, the JVM and the Python workers are child processes.

Settings of other installations of Spark, Hadoop or Java are ignored: Pomona uses the Spark of its own environment.
Text is UTF-8 for any locale. No process loads code from the current directory. Under ``spark-submit`` nothing of this
applies: there the cluster's settings hold.
"""

from __future__ import annotations

import logging
import os
import site
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

#: The one setting of Spark that holds locally too: the Java heap of the driver.
MEMORY_VARIABLE = "SPARK_DRIVER_MEMORY"
_FOREIGN_PREFIXES = ("SPARK_", "PYSPARK_", "HADOOP_", "YARN_", "HIVE_")
_FOREIGN_NAMES = (
    "BASH_ENV",  # sourced by Spark's scripts
    "CLASSPATH",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "OPENJ9_JAVA_OPTIONS",
    "IBM_JAVA_OPTIONS",
)
# PYTHONINSPECT would keep a worker open at a prompt; the others change its text encoding and its warnings.
_PYTHON_NAMES = ("PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONIOENCODING", "PYTHONWARNINGS")
_LIBRARY = os.path.dirname(os.__file__)
#: The folders of the interpreter, which PYTHONPATH may repeat.
_INTERPRETER = {_LIBRARY, os.path.join(_LIBRARY, "lib-dynload"), *site.getsitepackages()}
#: The folder that contains Pomona's packages.
_OWN_FOLDER = str(Path(__file__).parents[2])


def under_spark_submit() -> bool:
    """Return whether ``spark-submit`` started this process."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def foreign_settings(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that configure another Spark, Hadoop, Java or Python, sorted."""
    names = {
        name
        for name in environ
        if name in _FOREIGN_NAMES
        or (name.startswith(_FOREIGN_PREFIXES) and name != MEMORY_VARIABLE)
    }
    given = environ.get("PYTHONPATH", "")
    if given != _python_path(given):
        names.add("PYTHONPATH")
    return sorted(names)


def ignore_foreign_settings() -> None:
    """Remove the variables of other installations from the environment of this process; log their names once."""
    names = foreign_settings(os.environ)
    for name in names:
        value = os.environ.pop(name)
        if name == "PYTHONPATH" and (kept := _python_path(value)):
            os.environ[name] = kept
    if names:
        log.warning("ignored %s: Pomona uses its own Spark", ", ".join(names))


def child_environment() -> dict[str, str]:
    """Return the environment for Spark's processes: this process's own without foreign settings, in UTF-8."""
    import pyspark

    foreign = (*foreign_settings(os.environ), *_PYTHON_NAMES)
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    if path := _python_path(os.environ.get("PYTHONPATH", "")):
        environment["PYTHONPATH"] = path
    return environment | {
        # Not left to Spark's scripts, which also look into the parent of the current directory.
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        # A local master needs only the loopback interface; this saves resolving the host name.
        "SPARK_LOCAL_IP": "127.0.0.1",
        # Spark's launcher is a Java process too: with a full /tmp it would print a warning about its performance data,
        # and after a crash leave a dump in the current directory. The options cannot contain spaces.
        "SPARK_LAUNCHER_OPTS": "-XX:-UsePerfData -XX:ErrorFile=/dev/null -XX:-DumpReplayDataOnError",
        "LC_ALL": "C.UTF-8",  # Java derives the encoding of file names from it
        "PYTHONUTF8": "1",
        "PYTHONSAFEPATH": "1",  # otherwise `python -m` searches the current directory first
    }


@contextmanager
def spark_environment(java_home: Path) -> Iterator[None]:
    """Replace the environment of this process while Spark, which inherits it, starts."""
    before = dict(os.environ)
    if not _current_folder():
        os.chdir("/")  # Spark's scripts cannot start in a deleted folder
    try:
        _set_environment(child_environment() | {"JAVA_HOME": str(java_home)})
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)


def search_path(entries: Iterable[str]) -> list[str]:
    """Return Python's module search path without the current directory and the paths of other installations.

    ``python -m`` and an empty entry of PYTHONPATH add the current directory; notebook images add their own pyspark.
    The folder of Pomona itself is kept.
    """
    current = _current_folder()
    given = os.environ.get("PYTHONPATH", "")
    kept = _python_path(given).split(os.pathsep)
    foreign = {os.path.join(current, entry).rstrip("/") for entry in given.split(os.pathsep)} - {
        *kept
    }
    foreign = (foreign | {"", current}) - _INTERPRETER
    return [entry for entry in entries if entry == _OWN_FOLDER or entry.rstrip("/") not in foreign]


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # deleted: nothing can be loaded from it
        return ""


def _python_path(entries: str) -> str:
    """Return the entries of PYTHONPATH that Pomona uses: absolute ones, and none if it is not installed there."""
    absolute = [entry for entry in entries.split(os.pathsep) if os.path.isabs(entry)]
    return os.pathsep.join(absolute) if _OWN_FOLDER in map(os.path.normpath, absolute) else ""
