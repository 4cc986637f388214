"""Lakes with rows that nobody featurized: drawn vectors under the schema that Pomona gave the table."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.delta_log import last_version

#: Rows of a file, as Pomona writes them at most.
ROWS_A_FILE = 8192
_WIDTH, _RANK, _LABELS = 1280, 64, 24
_FIRST = "00000000000000000000.json"


@dataclass(frozen=True)
class Known:
    """An image that a row is about: where it lies (a URI), bytes, and milliseconds since 1970."""

    path: str
    length: int
    modified_ms: int


def empty_lake(ready: Path, folder: Path) -> Path:
    """A lake with tables and a model, without rows.

    Parameters
    ----------
    ready : Path
        A lake that images were ingested into: the first version of each of its tables is the empty table.
    folder : Path
        The new lake.
    """
    shutil.copytree(ready / "models", folder / "models")
    shutil.copyfile(ready / "lake.json", folder / "lake.json")
    for table in ("features", "quarantine", "refits"):
        (folder / table / "_delta_log").mkdir(parents=True)
        shutil.copyfile(
            ready / table / "_delta_log" / _FIRST, folder / table / "_delta_log" / _FIRST
        )
    return folder


def clone(lake: Path, folder: Path) -> Path:
    """Another lake with the same files, as hard links; what is written to one is not seen in the other."""

    def link(source: str, target: str) -> None:
        # Names that begin with `_last_` are written anew in place; all else in a lake is written once.
        if os.path.basename(source).startswith(("_last_", "._last_")):
            shutil.copyfile(source, target)
            return
        os.link(source, target)

    shutil.copytree(lake, folder, copy_function=link)
    return folder


def add_rows(lake: Path, images: Sequence[Known], seed: int = 0) -> None:
    """Append a row for each of these images, in one commit."""
    model_id = next(file.parent.name for file in (lake / "models").rglob("model.json"))
    random = np.random.default_rng(seed)
    adds = [
        _write(lake / "features", images[start : start + ROWS_A_FILE], random, model_id)
        for start in range(0, len(images), ROWS_A_FILE)
    ]
    told = {"timestamp": _now(), "operation": "WRITE", "operationParameters": {"mode": "Append"}}
    lines = [{"commitInfo": told}, *({"add": add} for add in adds)]
    log = lake / "features" / "_delta_log"
    file = log / f"{last_version(lake / 'features') + 1:020}.json"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def made_up(count: int, start: int = 0) -> list[Known]:
    """Images that exist nowhere."""
    day = int(datetime(2026, 3, 3, tzinfo=UTC).timestamp() * 1000)
    return [
        Known(f"file:/drawn/Fruit {number % _LABELS}/{number}.jpg", 4711, day)
        for number in range(start, start + count)
    ]


def known(files: Sequence[Path]) -> list[Known]:
    """Images that are there, as a listing tells of them."""
    found = ((f"file:{file}", file.stat()) for file in files)
    return [Known(path, stat.st_size, stat.st_mtime_ns // 1_000_000) for path, stat in found]


def vectors(count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Features (n, 1280) as ReLU6 leaves them: clusters along some directions, noise, half of the values 0."""
    fixed = np.random.default_rng(7)
    directions = fixed.standard_normal((_RANK, _WIDTH), np.float32) / np.float32(np.sqrt(_RANK))
    centres = fixed.standard_normal((_LABELS, _RANK), np.float32) * 2
    spread = np.float32(0.95) ** np.arange(_RANK, dtype=np.float32)
    scores = centres[np.arange(count) % _LABELS]
    scores = (scores + random.standard_normal((count, _RANK), np.float32)) * spread
    rows = scores @ directions
    rows += random.standard_normal((count, _WIDTH), np.float32) * np.float32(0.3)
    return np.clip(rows, 0, 6, out=rows)


def _write(
    table: Path, images: Sequence[Known], random: np.random.Generator, model_id: str
) -> dict[str, Any]:
    """Write one Parquet file; what the log says of it."""
    file = table / f"part-{uuid.uuid4()}.snappy.parquet"
    columns = dict(_columns(images, vectors(len(images), random), model_id))
    pq.write_table(pa.table(columns), file, use_dictionary=["label", "model_id", "format"])
    return {
        "path": file.name,
        "partitionValues": {},
        "size": file.stat().st_size,
        "modificationTime": _now(),
        "dataChange": True,
        "stats": json.dumps({"numRecords": len(images)}),
    }


def _columns(
    images: Sequence[Known], features: NDArray[np.float32], model_id: str
) -> Iterator[tuple[str, pa.Array]]:
    """The columns of `features/`, in their order."""
    count = len(images)
    times = pa.timestamp("us", "UTC")
    now = int(time.time() * 1e6)
    offsets = np.arange(count + 1, dtype=np.int32) * features.shape[1]
    yield "path", pa.array([image.path for image in images])
    yield "label", pa.array([image.path.rsplit("/", 2)[-2] for image in images])
    yield "length", pa.array([image.length for image in images], pa.int64())
    yield "modification_time", pa.array([i.modified_ms * 1000 for i in images], times)
    yield "content_hash", pa.array([f"{number:064x}" for number in range(count)])
    yield "width", pa.array([100] * count, pa.int32())
    yield "height", pa.array([100] * count, pa.int32())
    yield "format", pa.array(["JPEG"] * count)
    yield "features", pa.ListArray.from_arrays(offsets, features.reshape(-1))
    yield "model_id", pa.array([model_id] * count)
    yield "ingested_at", pa.array([now] * count, times)
    yield "batch_id", pa.array([-1] * count, pa.int64())


def _now() -> int:
    return int(time.time() * 1000)
