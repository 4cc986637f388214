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
from benchmarks.peers.plain_processes import load
from benchmarks.stopwatch import Stopwatch
from streaming.images.decode import decode

#: Images that a process holds in memory, 0.6 MB each.
HELD = 128


def work(files: list[str], model: str, engine: str, count: int, barrier: Barrier) -> None:
    """What one process does: decode, wait for the others, run the network, wait again."""
    loaded, settings = load(model, engine)
    contents = [Path(files[i % len(files)]).read_bytes() for i in range(HELD)]
    held = np.stack([decode(content, settings).pixels for content in contents])
    loaded.run(held[: loaded.batch])
    barrier.wait()
    for start in range(0, count, loaded.batch):
        loaded.run(held[start % HELD :][: min(loaded.batch, count - start)])
    barrier.wait()


def main() -> None:
    """Run the network on images in memory."""
    watch = Stopwatch()
    images, model, count = sys.argv[1:4]
    engine = sys.argv[4] if len(sys.argv) > 4 else "onnxruntime"
    cores = os.cpu_count() or 1
    each = max(1, int(count) // cores)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores + 1)
    files = files_below(images)
    words = (files, model, engine, each, barrier)
    processes = [context.Process(target=work, args=words) for _ in range(cores)]
    for process in processes:
        process.start()
    barrier.wait()
    watch.start()
    barrier.wait()
    watch.stop(each * cores, engine=engine)
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
