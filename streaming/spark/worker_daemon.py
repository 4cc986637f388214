"""PySpark's daemon of Python workers, without two of its faults.

Spark places the archive `pyspark.zip` first on the path of a worker. It contains the same modules as the package
that pip installed, but Python compiles what it imports from an archive in each process, and PySpark reads the
archive's index again before a task. Each worker needs a second of CPU time for it.

If a task is cancelled between requesting a worker and receiving it, the worker's socket is closed. PySpark's own
daemon prints this as an unhandled error, although nothing failed.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence


def without_archives(path: Sequence[str]) -> list[str]:
    """Return the entries of a module path without those inside a `pyspark` package that the path has too.

    These are `pyspark.zip`, the archive of Py4J, which pip installs beside PySpark, and a jar. A cluster has PySpark
    only as an archive; its path stays as it is.
    """
    packages = tuple(
        os.path.join(entry, "pyspark", "")
        for entry in path
        if all(os.path.isdir(os.path.join(entry, name)) for name in ("pyspark", "py4j"))
    )
    return [entry for entry in path if not entry.startswith(packages)]


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
