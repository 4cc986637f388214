"""Upper limit: the network alone on all cores, with images decoded in memory before the clock starts.

`python -m benchmarks.peers.bare_engine IMAGES MODEL COUNT [ENGINE]`: repeats a few images up to COUNT.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from benchmarks.measuring.timing import Stopwatch
from benchmarks.peers.network import files_below
from benchmarks.peers.plain_processes import load_engine
from streaming.images.decode import decode

#: Decoded images that each process keeps in memory, 0.6 MB each.
IMAGES_IN_MEMORY = 128


def work(files: list[str], model: str, engine: str, count: int, barrier: Barrier) -> None:
    """Decode images, wait for the other processes, run the network, wait again."""
    loaded, settings = load_engine(model, engine)
    contents = [Path(files[i % len(files)]).read_bytes() for i in range(IMAGES_IN_MEMORY)]
    pixels = np.stack([decode(content, settings).pixels for content in contents])
    loaded.run(pixels[: loaded.batch])
    barrier.wait()
    for start in range(0, count, loaded.batch):
        loaded.run(pixels[start % IMAGES_IN_MEMORY :][: min(loaded.batch, count - start)])
    barrier.wait()


def main() -> None:
    """Run the network in one process per core."""
    watch = Stopwatch()
    images, model, count = sys.argv[1:4]
    engine = sys.argv[4] if len(sys.argv) > 4 else "onnxruntime"
    cores = os.cpu_count() or 1
    each = max(1, int(count) // cores)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores + 1)
    files = files_below(images)
    arguments = (files, model, engine, each, barrier)
    processes = [context.Process(target=work, args=arguments) for _ in range(cores)]
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
