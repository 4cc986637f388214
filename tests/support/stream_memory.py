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
from support.lakes import jpeg, put


def micro_batches_hold_no_more_than_ten(
    spark: SparkSession, lake: Path, tmp_path: Path, count: int
) -> None:
    """Let images arrive two at a time, and compare what is held after ten micro-batches and after `count`."""
    stop = threading.Event()
    held: dict[int, tuple[float, float]] = {}
    seen = 0

    def arrive() -> None:
        for number in range(2):
            put(tmp_path / "Fig" / f"{seen}-{number}.jpg", jpeg(number))

    def watch(result: BatchResult, summary: IngestSummary) -> None:
        nonlocal seen
        if not result.written:
            return
        seen += 1
        if seen in (FIRST, count):
            gc.collect()  # what Python's cycles refer to, Java keeps
            held[seen] = (live_heap(spark), resident_workers())
        if seen == count:
            stop.set()
        arrive()

    arrive()
    ingest(str(tmp_path), str(lake), IngestSettings(trigger=0, settle=0), watch, stop)
    assert set(held) == {FIRST, count}
    for first, last in zip(held[FIRST], held[count], strict=True):
        assert first > 10, held
        assert last < 1.1 * first, held


FIRST = 10


def live_heap(spark: SparkSession) -> float:
    """MB that Java's heap holds after a collection: the least of a few, since the next commit is being prepared."""
    jvm: Any = spark._jvm
    pools = jvm.java.lang.management.ManagementFactory.getMemoryPoolMXBeans()
    seen = []
    for _ in range(6):
        jvm.java.lang.System.gc()
        usages = [pool.getCollectionUsage() for pool in pools]
        seen.append(sum(usage.getUsed() for usage in usages if usage))
        time.sleep(0.3)
    return min(seen) / MB


def resident_workers() -> float:
    """MB of all Python workers of this machine's Spark that belong to this process."""
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
    me = str(os.getpid())

    def is_mine(process: str) -> bool:
        while process in parents and process != me:
            process = parents[process]
        return process == me

    return sum(size for process, size in sizes.items() if is_mine(process))


MB = 2**20
