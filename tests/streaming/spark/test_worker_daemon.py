"""Tests for `streaming.spark.worker_daemon`, over the socket protocol of Spark's JVM."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("module", "tracebacks"), [("streaming.spark.worker_daemon", 0), ("pyspark.daemon", 1)]
)
def test_worker_of_cancelled_task_ends_without_traceback(module: str, tracebacks: int) -> None:
    """PySpark's own daemon prints a traceback; once it does not, `worker_daemon` can be deleted."""
    env = os.environ | {"PYTHON_WORKER_FACTORY_SECRET": "of this test"}
    command = [sys.executable, "-m", module, "pyspark.worker"]
    pipe = subprocess.PIPE
    daemon = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env)
    assert daemon.stdout
    (port,) = struct.unpack("!i", daemon.stdout.read(4))
    with socket.create_connection(("127.0.0.1", port)) as task:
        (worker,) = struct.unpack("!i", task.recv(4))
        # Close with a reset, as the socket of a task does that has unread data.
        task.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    _, errors = daemon.communicate(timeout=30)
    assert errors.decode().count("Traceback") == tracebacks
