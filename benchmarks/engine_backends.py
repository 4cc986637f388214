"""Measure every backend of the network on this machine: images per second and memory, or why it is unavailable.

`python -m benchmarks.engine_backends IMAGES MODELS [BATCH …]`: IMAGES is a folder of images, MODELS a lake's `models/`.
Runs one single-threaded process per core, or one per GPU. Images are decoded before the clock starts.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import sys
import time
from dataclasses import replace
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np

from streaming.engines import gpu
from streaming.engines.registry import create_engine, unavailable_reason
from streaming.images.decode import IMAGE_SUFFIXES, decode
from streaming.model.backends import TOLERANCES, Backend
from streaming.model.store import find_model, read_model

#: Decoded images that each process keeps in memory.
IMAGES_IN_MEMORY = 128
#: Processor time of each measurement, in seconds.
SECONDS = 5.0


def measure(
    backend: Backend, batch: int | None, folders: tuple[str, str], results: Queue[Any], number: int
) -> None:
    """Run the network for `SECONDS` and put the figures into the queue.

    Parameters
    ----------
    batch : int or None
        Images per call; None for the engine's own batch size.
    folders : tuple of str
        The folder of images and the URI of `models/`.
    number : int
        Number of the process; it selects the GPU.
    """
    images, models = folders
    info = find_model(models)
    assert info
    settings = info.decode_settings()
    files = [f for f in sorted(Path(images).rglob("*")) if f.suffix[1:].lower() in IMAGE_SUFFIXES]
    step = max(1, len(files) // IMAGES_IN_MEMORY)
    pixels = np.stack([decode(f.read_bytes(), settings).pixels for f in files[::step]])
    before = _resident_megabytes()
    model = read_model(models, info, backend.engine)
    device = number if backend.device == "cuda" else None
    engine = create_engine(
        backend.engine, replace(info, precision=backend.precision), model, gpu=device
    )
    size = min(batch or engine.batch, len(pixels))
    engine.run(pixels[:size])
    done, processor, clock = 0, time.process_time(), time.perf_counter()
    while time.process_time() - processor < SECONDS:
        engine.run(pixels[done % (len(pixels) - size + 1) :][:size])
        done += size
    spent = {"processor": time.process_time() - processor, "clock": time.perf_counter() - clock}
    rates = {name: done / seconds for name, seconds in spent.items()}
    results.put(rates | {"batch": size, "megabytes": _resident_megabytes() - before})


def report(backend: Backend, batch: int | None, folders: tuple[str, str]) -> dict[str, Any]:
    """Return the medians over all processes of a backend, or why it was skipped."""
    fields = dict(zip(Backend._fields, backend, strict=True))
    if reason := unavailable_reason(backend):
        return fields | {"skipped": reason}
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    count = gpu.device_count() if backend.device == "cuda" else os.cpu_count() or 1
    processes = [
        context.Process(target=measure, args=(backend, batch, folders, queue, i))
        for i in range(count)
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    medians = {name: statistics.median(result[name] for result in results) for name in results[0]}
    return fields | {
        "images_per_call": int(medians["batch"]),
        "images_per_cpu_second": round(medians["processor"], 1),
        "images_per_second": round(medians["clock"], 1),
        "megabytes": round(medians["megabytes"]),
    }


def _resident_megabytes() -> float:
    """Return the resident memory of this process; engines do not give memory back."""
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Print a line of JSON for each backend and batch size."""
    images, models, *batches = sys.argv[1:]
    models = f"file:{Path(models).resolve()}"
    sizes: list[int | None] = [*map(int, batches)] or [None]
    for backend in TOLERANCES:
        for batch in sizes:
            print(json.dumps(report(backend, batch, (images, models))), flush=True)


if __name__ == "__main__":
    main()
