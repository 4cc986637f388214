"""PySpark's daemon of Python workers, with a shorter module path, and without a traceback for unneeded workers.

Spark places the archive `pyspark.zip` first on the path of a worker. It contains the same modules as the package
that pip installed, but Python compiles what it imports from an archive in each process, and PySpark reads the
archive's index again before a task. Each worker needs a second of CPU time for it.

If a task is canceled between requesting a worker and receiving it, the worker's socket is closed. PySpark's own
daemon prints this as an unhandled error, although nothing failed.

Only local sessions use this daemon.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from glob import escape

#: Inside the `pyspark` package: its own modules, those of Py4J, which pip installs beside it, and classes of Java.
_ARCHIVES = ("python/lib/pyspark.zip", "python/lib/py4j-*-src.zip", "jars/spark-core_*.jar")


def without_archives(path: Sequence[str]) -> list[str]:
    """Return the entries of a module path without the archives of Spark that the first PySpark on the path replaces.

    If PySpark or Py4J is not a package in a folder there, the path stays as it is.
    """
    pyspark, py4j = (
        next((one for one in path if os.path.isdir(os.path.join(one, name))), None)
        for name in ("pyspark", "py4j")
    )
    if pyspark is None or py4j is None:
        return list(path)
    package = escape(os.path.join(pyspark, "pyspark", ""))
    return [one for one in path if not any(fnmatchcase(one, package + name) for name in _ARCHIVES)]


def main() -> None:
    """Start workers until Spark closes the daemon's standard input."""
    kept = without_archives(sys.path)
    for entry in set(sys.path).difference(kept):
        sys.path_importer_cache.pop(entry, None)
    sys.path[:] = kept
    from pyspark import daemon

    work = daemon.worker

    def quiet_worker(sock: socket.socket, authenticated: bool) -> int:
        """Return 1 if the connection was closed."""
        try:
            return work(sock, authenticated)
        except ConnectionError:
            return 1

    daemon.worker = quiet_worker
    daemon.manager()


if __name__ == "__main__":
    main()
