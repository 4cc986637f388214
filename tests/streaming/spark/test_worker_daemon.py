"""Tests for `streaming.spark.worker_daemon`, over the socket protocol of Spark's JVM."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from streaming.spark.worker_daemon import without_archives


@pytest.mark.parametrize(
    ("module", "tracebacks"), [("streaming.spark.worker_daemon", 0), ("pyspark.daemon", 1)]
)
def test_worker_of_canceled_task_ends_without_traceback(module: str, tracebacks: int) -> None:
    """PySpark's own daemon prints a traceback; once it does not, `quiet_worker` can be deleted."""
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


@pytest.mark.spark
def test_workers_import_pyspark_from_its_folder(spark: Any) -> None:
    """They would compile it in each process if they imported it from an archive."""

    def imported(_: Any) -> Any:
        yield [
            (name, module.__file__)
            for name, module in sys.modules.items()
            if name.partition(".")[0] in ("pyspark", "py4j") and module.__file__
        ]
        yield [entry for entry in sys.path_importer_cache if ".zip" in entry and "spark" in entry]

    modules, archives = spark.sparkContext.parallelize([0], 1).mapPartitions(imported).collect()
    assert {name for name, _ in modules} >= {"pyspark.worker", "py4j"}
    assert [file for _, file in modules if not Path(file).is_file()] == []
    assert archives == []


def test_only_archives_of_the_first_installed_package_are_removed(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    archives = [
        str(folder / "pyspark" / name)
        for folder in (first, second)
        for name in ("python/lib/pyspark.zip", "python/lib/py4j-0.10-src.zip", "jars/spark-core_2.13.jar")
    ]  # fmt: skip
    added = [str(first / "pyspark/jars/graphframes.jar"), "/cluster/python/lib/pyspark.zip"]
    path = ["", *archives, *added, str(first), str(second)]
    assert without_archives(path) == path  # as on a cluster: PySpark is in no folder
    for folder in (first, second):
        (folder / "pyspark").mkdir(parents=True)
    assert without_archives(path) == path  # without Py4J
    (second / "py4j").mkdir()
    assert without_archives(path) == ["", *archives[3:], *added, str(first), str(second)]
