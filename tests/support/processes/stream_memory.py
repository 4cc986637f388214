"""Run a stream over many micro-batches and measure the memory of its processes."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from streaming.featurize.results import BatchResult
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings, IngestSummary
from support.lakes.small_lakes import jpeg, put


def assert_memory_is_bounded(spark: SparkSession, lake: Path, tmp_path: Path, count: int) -> None:
    """Run a stream with two images per micro-batch; fail if memory grows between batch 10 and batch `count`."""
    stop = threading.Event()
    memory: dict[
        int, tuple[float, float]
    ] = {}  # MB of Java and of the workers, by number of micro-batches
    batches = 0

    def deliver() -> None:
        for number in range(2):
            put(tmp_path / "Fig" / f"{batches}-{number}.jpg", jpeg(number))

    def on_batch(result: BatchResult, summary: IngestSummary) -> None:
        nonlocal batches
        if not result.written:
            return
        batches += 1
        if batches in (FIRST, count):
            gc.collect()  # Python objects in cycles keep Java objects alive
            memory[batches] = (live_heap(spark), resident_workers())
        if batches == count:
            stop.set()
        deliver()

    deliver()
    ingest(str(tmp_path), str(lake), IngestSettings(trigger=0, settle=0), on_batch, stop)
    assert set(memory) == {FIRST, count}
    for first, last in zip(memory[FIRST], memory[count], strict=True):
        assert first > 10, memory
        assert last < 1.1 * first, memory


FIRST = 10


def live_heap(spark: SparkSession) -> float:
    """Return the MB of the Java heap after a collection: a minimum, since the next commit is prepared meanwhile."""
    jvm: Any = spark._jvm
    pools = jvm.java.lang.management.ManagementFactory.getMemoryPoolMXBeans()
    sizes = []
    for _ in range(6):
        jvm.java.lang.System.gc()
        usages = [pool.getCollectionUsage() for pool in pools]
        sizes.append(sum(usage.getUsed() for usage in usages if usage))
        time.sleep(0.3)
    return min(sizes) / MB


def resident_workers() -> float:
    """Return the resident MB of all Python workers below this process."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            fields = dict(
                line.split(":\t", 1) for line in (folder / "status").read_text().splitlines()
            )
        except OSError:
            continue
        parents[folder.name] = fields["PPid"]
        if b"worker_daemon" in command and "VmRSS" in fields:
            sizes[folder.name] = int(fields["VmRSS"].split()[0]) / 1024
    driver = str(os.getpid())

    def is_descendant(process: str) -> bool:
        while process in parents and process != driver:
            process = parents[process]
        return process == driver

    return sum(size for process, size in sizes.items() if is_descendant(process))


MB = 2**20
