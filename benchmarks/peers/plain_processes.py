"""Practical limit: single-threaded plain processes read, decode and run the network, without Spark or a table.

`python -m benchmarks.peers.plain_processes IMAGES MODEL OUT [ENGINE]`; one process per core, each of
which writes one Parquet file in the end.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.measuring.timing import Stopwatch
from benchmarks.peers.network import files_below
from streaming.engines.registry import Engine, create_engine
from streaming.images.decode import DecodeSettings, decode
from streaming.model.metadata import ModelInfo


def load_engine(model: str, engine: str) -> tuple[Engine, DecodeSettings]:
    """Create the engine with one thread; return it with its decode settings."""
    info = ModelInfo.from_json(Path(model, "model.json").read_bytes())
    name = "model.weights.h5" if engine == "tensorflow" else "model.onnx"
    settings = info.decode_settings()
    return create_engine(engine, info, Path(model, name).read_bytes(), threads=1), settings


def featurize(engine: Engine, settings: DecodeSettings, files: list[str]) -> NDArray[np.float32]:
    """Return the features (n, width) of n files."""
    batches = []
    for start in range(0, len(files), engine.batch):
        contents = [Path(file).read_bytes() for file in files[start : start + engine.batch]]
        batches.append(engine.run(np.stack([decode(c, settings).pixels for c in contents])))
    return np.concatenate(batches)


def work(files: list[str], model: str, engine: str, out: str, barrier: Barrier) -> None:
    """Load the engine, wait for the other processes, featurize and write, wait again."""
    loaded, settings = load_engine(model, engine)
    barrier.wait()
    features = featurize(loaded, settings, files)
    flat = pa.array(features.reshape(-1))
    offsets = np.arange(len(files) + 1, dtype=np.int32) * features.shape[1]
    rows = pa.table({"path": files, "features": pa.ListArray.from_arrays(offsets, flat)})
    pq.write_table(rows, Path(out, f"part-{os.getpid()}.parquet"))
    barrier.wait()


def main() -> None:
    """Featurize a folder of images with one process per core."""
    watch = Stopwatch()
    images, model, out = sys.argv[1:4]
    engine = sys.argv[4] if len(sys.argv) > 4 else "onnxruntime"
    Path(out).mkdir(parents=True, exist_ok=True)
    files = files_below(images)
    cores = min(os.cpu_count() or 1, len(files))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores + 1)
    processes = [
        context.Process(target=work, args=(files[i::cores], model, engine, out, barrier))
        for i in range(cores)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    watch.start()
    barrier.wait()
    watch.stop(len(files), engine=engine)
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
