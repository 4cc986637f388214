"""Measure every backend of the network on this machine: images per second and memory, or why it is unavailable.

`python -m benchmarks.engine_backends IMAGES MODELS [BATCH …]`: IMAGES is a folder of images, MODELS a lake's `models/`.
Runs one single-threaded process per core, or one per GPU: first the network alone, on images in memory, then as a
worker does, with reading and decoding. The model in float32 is quantized for int8.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np

from streaming.engines import gpu
from streaming.engines.registry import create_engine, unavailable_reason
from streaming.images.decode import IMAGE_SUFFIXES, decode
from streaming.model.backends import INT8, TOLERANCES, Backend
from streaming.model.quantize import quantize
from streaming.model.store import find_model, read_model

#: Decoded images that each process keeps in memory.
IMAGES_IN_MEMORY = 128
#: Processor time of each measurement, in seconds. The backends take turns, because other programs use the machine too.
SECONDS = 3.0
ROUNDS = 3


@dataclass(frozen=True)
class Inputs:
    """What all backends run on.

    Attributes
    ----------
    images : str
        A folder of images.
    models : str
        URI of the `models/` of a lake in float32.
    quantized : str
        A file with the model in int8.
    """

    images: str
    models: str
    quantized: str


def measure(
    backend: Backend, batch: int | None, inputs: Inputs, results: Queue[Any], number: int
) -> None:
    """Run the network for `SECONDS`, then with decoding, and put the figures into the queue.

    Parameters
    ----------
    batch : int or None
        Images per call; None for the engine's own batch size.
    number : int
        Number of the process; it selects the GPU.
    """
    info = find_model(inputs.models)
    assert info
    settings = info.decode_settings()
    found = Path(inputs.images).rglob("*")
    files = [f for f in sorted(found) if f.suffix[1:].lower() in IMAGE_SUFFIXES]
    files = files[:: max(1, len(files) // IMAGES_IN_MEMORY)]
    pixels = [decode(f.read_bytes(), settings).pixels for f in files]
    before = _resident_megabytes()
    model = read_model(inputs.models, info, backend.engine)
    if backend.precision == INT8:
        model = Path(inputs.quantized).read_bytes()
    device = number if backend.device == "cuda" else None
    engine = create_engine(
        backend.engine, replace(info, precision=backend.precision), model, gpu=device
    )
    size = min(batch or engine.batch, len(pixels))
    batches = [np.stack(pixels[i : i + size]) for i in range(0, len(pixels) - size + 1, size)]
    engine.run(batches[0])
    alone = _rate([partial(engine.run, batch) for batch in batches], size)
    megabytes = _resident_megabytes() - before

    def decode_and_run(files: list[Path]) -> None:
        engine.run(np.stack([decode(f.read_bytes(), settings).pixels for f in files]))

    starts = range(0, len(files) - size + 1, size)
    decoding = _rate([partial(decode_and_run, files[i : i + size]) for i in starts], size)
    results.put(
        {
            "batch": size,
            "processor": alone[0],
            "clock": alone[1],
            "decoding": decoding[0],
            "megabytes": megabytes,
        }
    )


def _rate(calls: Sequence[Callable[[], object]], images: int) -> tuple[float, float]:
    """Repeat the calls for `SECONDS`; return images per second of processor time and of the clock."""
    done, processor, clock = 0, time.process_time(), time.perf_counter()
    while time.process_time() - processor < SECONDS:
        calls[done % len(calls)]()
        done += 1
    images *= done
    return images / (time.process_time() - processor), images / (time.perf_counter() - clock)


def report(backend: Backend, batch: int | None, inputs: Inputs) -> dict[str, Any]:
    """Return the medians over all processes of a backend, or why it was skipped."""
    fields = dict(zip(Backend._fields, backend, strict=True))
    if reason := unavailable_reason(backend):
        return fields | {"skipped": reason}
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    count = gpu.device_count() if backend.device == "cuda" else os.cpu_count() or 1
    processes = [
        context.Process(target=measure, args=(backend, batch, inputs, queue, i))
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
        "images_per_cpu_second_with_decoding": round(medians["decoding"], 1),
        "megabytes": round(medians["megabytes"]),
    }


def _resident_megabytes() -> float:
    """Return the resident memory of this process; engines do not give memory back."""
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Print a line of JSON for each backend and batch size, in each of `ROUNDS` rounds."""
    images, models, *batches = sys.argv[1:]
    models = f"file:{Path(models).resolve()}"
    sizes: list[int | None] = [*map(int, batches)] or [None]
    info = find_model(models)
    assert info
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        network = read_model(models, info, "openvino")
        file.write(quantize(network, info.decode_settings()).onnx)
        file.flush()
        inputs = Inputs(images, models, file.name)
        for number in range(ROUNDS):
            for backend in TOLERANCES:
                for batch in sizes:
                    found = {"round": number} | report(backend, batch, inputs)
                    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
