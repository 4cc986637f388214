"""The limit: the network alone on all cores, its images decoded and in memory before the clock starts.

`python -m benchmarks.peers.bare_engine IMAGES MODEL COUNT [ENGINE]`: some images, run again and again up to COUNT.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from benchmarks.peers.network import files_below
from benchmarks.peers.plain_processes import BATCH, load
from benchmarks.stopwatch import Stopwatch
from streaming.decode import decode

#: Batches that a process holds in memory, 10 MB each.
HELD = 8


def work(files: list[str], model: str, engine: str, batches: int, barrier: Barrier) -> None:
    """What one process does: decode, wait for the others, run the network, wait again."""
    loaded, settings = load(model, engine)
    contents = [Path(files[i % len(files)]).read_bytes() for i in range(BATCH * HELD)]
    decoded = np.stack([decode(content, settings).pixels for content in contents])
    held = np.split(decoded, HELD)
    loaded.run(held[0])
    barrier.wait()
    for batch in range(batches):
        loaded.run(held[batch % HELD])
    barrier.wait()


def main() -> None:
    """Run the network on images in memory."""
    watch = Stopwatch()
    images, model, count = sys.argv[1:4]
    engine = sys.argv[4] if len(sys.argv) > 4 else "onnxruntime"
    cores = os.cpu_count() or 1
    batches = max(1, round(int(count) / BATCH / cores))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores + 1)
    files = files_below(images)
    words = (files, model, engine, batches, barrier)
    processes = [context.Process(target=work, args=words) for _ in range(cores)]
    for process in processes:
        process.start()
    barrier.wait()
    watch.start()
    barrier.wait()
    watch.stop(batches * BATCH * cores, engine=engine)
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
