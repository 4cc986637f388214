"""Tests for the daemon of Python workers, which is asked here as Spark's JVM asks it."""

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
    ("module", "stacks"), [("streaming.spark.worker_daemon", 0), ("pyspark.daemon", 1)]
)
def test_a_worker_whose_task_is_gone_ends_in_silence(module: str, stacks: int) -> None:
    """PySpark's own tells it with a stack: where that changes, ours can go."""
    env = os.environ | {"PYTHON_WORKER_FACTORY_SECRET": "of this test"}
    command = [sys.executable, "-m", module, "pyspark.worker"]
    pipe = subprocess.PIPE
    daemon = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env)
    assert daemon.stdout
    (port,) = struct.unpack("!i", daemon.stdout.read(4))
    with socket.create_connection(("127.0.0.1", port)) as task:
        (worker,) = struct.unpack("!i", task.recv(4))
        # Closed with a reset, as a task's socket is that has not read all.
        task.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.02)
    _, said = daemon.communicate(timeout=30)
    assert said.decode().count("Traceback") == stacks
