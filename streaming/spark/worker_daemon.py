"""PySpark's daemon of Python workers, without a stack trace for workers that are no longer needed.

If a task is cancelled between requesting a worker and receiving it, the worker's socket is closed. PySpark's own
daemon prints this as an unhandled error, although nothing failed.
"""

from __future__ import annotations

import socket

from pyspark import daemon

_work = daemon.worker


def work(sock: socket.socket, authenticated: bool) -> int:
    """Run PySpark's worker; return 1 if the connection was closed."""
    try:
        return _work(sock, authenticated)
    except ConnectionError:
        return 1


if __name__ == "__main__":
    daemon.worker = work
    daemon.manager()
