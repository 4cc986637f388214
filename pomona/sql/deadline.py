"""Limit the time of a query: its Spark jobs are canceled, and a call that does not return is abandoned."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pyspark.sql import SparkSession

# Spark computes constants while it plans a query. Nothing can cancel that, nor a task that ignores interrupts.
_GRACE = 3.0
_GROUP_PROPERTIES = (  # of the thread, set by `SparkContext.setJobGroup`
    "spark.jobGroup.id",
    "spark.job.description",
    "spark.job.interruptOnCancel",
)


class Deadline:
    """Whether the time of a block is over."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._finished = threading.Event()

    @property
    def is_over(self) -> bool:
        """Return whether the jobs of the block were canceled."""
        return self._over.is_set()

    def _start_canceling(self, context: Any, group: str) -> None:
        """Cancel the jobs in another thread, because Java may be too busy to answer."""
        arguments = (context, group, self._finished)
        threading.Thread(target=_cancel, args=arguments, daemon=True).start()

    def _watch(self, context: Any, group: str, connection: Any, seconds: float) -> None:
        if self._finished.wait(seconds):
            return
        self._over.set()
        self._start_canceling(context, group)
        if self._finished.wait(_GRACE) or connection is None:
            return
        client = context._gateway._gateway_client
        client._should_retry = lambda *_: False  # Py4J would send the command again
        with suppress(OSError, AttributeError):  # closed meanwhile
            connection.socket.shutdown(socket.SHUT_RDWR)
        self._finished.wait()
        del client._should_retry


@contextmanager
def limit_time(spark: SparkSession, seconds: float) -> Iterator[Deadline]:
    """Cancel the Spark jobs that this thread starts in the block after so many seconds.

    Jobs that run when the block fails are canceled too, as after Ctrl-C. If Spark computes on the driver and does not
    react within 3 s, the connection of this thread to Java is closed. In each case the block receives an exception of
    Spark or Py4J; see `Deadline.is_over`. After a block that does not fail, the thread has its former job group again.
    """
    context = spark.sparkContext
    group = f"pomona-query-{uuid.uuid4().hex}"
    previous = {key: context.getLocalProperty(key) for key in _GROUP_PROPERTIES}
    context.setJobGroup(group, "pomona query", interruptOnCancel=True)
    client: Any = context._gateway._gateway_client  # type: ignore[union-attr]
    find_connection = getattr(client, "get_thread_connection", lambda: None)
    deadline = Deadline()
    arguments = (context, group, find_connection(), seconds)
    threading.Thread(target=deadline._watch, args=arguments, daemon=True).start()
    try:
        yield deadline
    except BaseException:
        deadline._start_canceling(context, group)
        raise
    else:  # after an error, Java may be too busy to answer
        for key, value in previous.items():
            context.setLocalProperty(key, value)  # type: ignore[arg-type]
    finally:
        deadline._finished.set()


def _cancel(context: Any, group: str, finished: threading.Event) -> None:
    """Cancel the jobs of a group, and those that start later, until the block has ended."""
    while True:
        with suppress(Exception):  # Java has ended
            context.cancelJobGroup(group)
        if finished.wait(0.5):
            return
