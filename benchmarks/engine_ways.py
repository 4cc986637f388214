"""Each way to run the network on this machine: images a second and memory, or the reason why it cannot.

`python -m benchmarks.engine_ways IMAGES MODELS [BATCH …]`: IMAGES is a folder of images, MODELS a lake's `models/`.
One process of one thread a core, or one a GPU; images are decoded before the clock starts.
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
from streaming.images.decode import IMAGE_SUFFIXES, DecodeSettings, decode
from streaming.model.backends import TOLERANCES, Backend
from streaming.model.store import find_model, read_model

HELD = 128  # images in memory
SECONDS = 5.0  # of the processor's time for each measurement


def measure(
    way: Backend, batch: int | None, folders: tuple[str, str], told: Queue[Any], number: int
) -> None:
    """Run the network for some seconds, `batch` images a call or as many as it likes, and tell the figures."""
    images, models = folders
    extractor = find_model(models)
    assert extractor
    settings = DecodeSettings(extractor.input_size, extractor.divisor, extractor.offset)
    files = [f for f in sorted(Path(images).rglob("*")) if f.suffix[1:].lower() in IMAGE_SUFFIXES]
    held = np.stack(
        [decode(f.read_bytes(), settings).pixels for f in files[:: max(1, len(files) // HELD)]]
    )
    before = _megabytes()
    model = read_model(models, extractor, way.engine)
    precise = replace(extractor, precision=way.precision)
    engine = create_engine(way.engine, precise, model, gpu=number if way.device == "cuda" else None)
    size = min(batch or engine.batch, len(held))
    engine.run(held[:size])
    done, processor, clock = 0, time.process_time(), time.perf_counter()
    while time.process_time() - processor < SECONDS:
        engine.run(held[done % (len(held) - size + 1) :][:size])
        done += size
    spent = {"processor": time.process_time() - processor, "clock": time.perf_counter() - clock}
    speeds = {name: done / seconds for name, seconds in spent.items()}
    told.put(speeds | {"batch": size, "megabytes": _megabytes() - before})


def report(way: Backend, batch: int | None, folders: tuple[str, str]) -> dict[str, Any]:
    """The medians of all processes of one way, or why it was skipped."""
    named = dict(zip(Backend._fields, way, strict=True))
    if why := unavailable_reason(way):
        return named | {"skipped": why}
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    count = gpu.device_count() if way.device == "cuda" else os.cpu_count() or 1
    processes = [
        context.Process(target=measure, args=(way, batch, folders, told, i)) for i in range(count)
    ]
    for process in processes:
        process.start()
    figures = [told.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    medians = {name: statistics.median(f[name] for f in figures) for name in figures[0]}
    return named | {
        "images_a_call": int(medians["batch"]),
        "images_a_second_of_a_thread": round(medians["processor"], 1),
        "images_a_second_by_the_clock": round(medians["clock"], 1),
        "megabytes": round(medians["megabytes"]),
    }


def _megabytes() -> float:
    """Memory of this process now; what an engine has taken, it keeps."""
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Print a line of JSON for each way and number of images a call."""
    images, models, *batches = sys.argv[1:]
    models = f"file:{Path(models).resolve()}"
    sizes: list[int | None] = [*map(int, batches)] or [None]
    for way in TOLERANCES:
        for batch in sizes:
            print(json.dumps(report(way, batch, (images, models))), flush=True)


if __name__ == "__main__":
    main()
