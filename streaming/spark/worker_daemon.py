"""PySpark's daemon of Python workers, without a stack for a worker that nobody needs any more.

A task that is cancelled between asking for a worker and hearing of it leaves one whose socket is closed.
PySpark's own daemon prints that as an unhandled error, in the middle of a run that is well.
"""

from __future__ import annotations

import socket

from pyspark import daemon

_work = daemon.worker


def work(sock: socket.socket, authenticated: bool) -> int:
    """As PySpark's, but end with 1 where the other side is gone."""
    try:
        return _work(sock, authenticated)
    except ConnectionError:
        return 1


if __name__ == "__main__":
    daemon.worker = work
    daemon.manager()
