"""Create lakes with synthetic rows: random features in the schema that Pomona gives the table."""

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

from benchmarks.measuring.delta_log import last_version

#: Rows per file, as Pomona's writer limits them.
ROWS_PER_FILE = 8192
_WIDTH, _RANK, _LABELS = 1280, 64, 24
_FIRST = "00000000000000000000.json"


@dataclass(frozen=True)
class ImageFile:
    """The image of a row: URI, size in bytes, and modification time in milliseconds since 1970."""

    path: str
    length: int
    modified_ms: int


def empty_lake(prepared: Path, folder: Path) -> Path:
    """Create a lake with tables and a model, without rows.

    Parameters
    ----------
    prepared : Path
        An ingested lake. The first version of each of its tables, which is empty, is copied.
    folder : Path
        The new lake.
    """
    shutil.copytree(prepared / "models", folder / "models")
    shutil.copyfile(prepared / "lake.json", folder / "lake.json")
    for table in ("features", "quarantine", "refits"):
        (folder / table / "_delta_log").mkdir(parents=True)
        shutil.copyfile(
            prepared / table / "_delta_log" / _FIRST, folder / table / "_delta_log" / _FIRST
        )
    return folder


def clone_lake(lake: Path, folder: Path) -> Path:
    """Copy a lake with hard links; later writes to one lake do not appear in the other."""

    def link(source: str, target: str) -> None:
        """Link a file, or copy it if its name starts with `_last_`: only these files are overwritten in place."""
        if os.path.basename(source).startswith(("_last_", "._last_")):
            shutil.copyfile(source, target)
            return
        os.link(source, target)

    shutil.copytree(lake, folder, copy_function=link)
    return folder


def append_rows(lake: Path, images: Sequence[ImageFile], seed: int = 0) -> None:
    """Append a row for each image, in one commit."""
    model_id = next(file.parent.name for file in (lake / "models").rglob("model.json"))
    random = np.random.default_rng(seed)
    adds = [
        _write(lake / "features", images[start : start + ROWS_PER_FILE], random, model_id)
        for start in range(0, len(images), ROWS_PER_FILE)
    ]
    info = {"timestamp": _now(), "operation": "WRITE", "operationParameters": {"mode": "Append"}}
    lines = [{"commitInfo": info}, *({"add": add} for add in adds)]
    log = lake / "features" / "_delta_log"
    file = log / f"{last_version(lake / 'features') + 1:020}.json"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def fictitious_images(count: int, start: int = 0) -> list[ImageFile]:
    """Return images that do not exist in any source."""
    day = int(datetime(2026, 3, 3, tzinfo=UTC).timestamp() * 1000)
    return [
        ImageFile(f"file:/synthetic/Fruit {number % _LABELS}/{number}.jpg", 4711, day)
        for number in range(start, start + count)
    ]


def describe_files(files: Sequence[Path]) -> list[ImageFile]:
    """Return existing images as a listing describes them."""
    found = ((f"file:{file}", file.stat()) for file in files)
    return [ImageFile(path, stat.st_size, stat.st_mtime_ns // 1_000_000) for path, stat in found]


def random_features(count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return random features (n, 1280) that resemble ReLU6 outputs: low-rank clusters plus noise, half of them 0."""
    fixed = np.random.default_rng(7)
    directions = fixed.standard_normal((_RANK, _WIDTH), np.float32) / np.float32(np.sqrt(_RANK))
    centers = fixed.standard_normal((_LABELS, _RANK), np.float32) * 2
    spread = np.float32(0.95) ** np.arange(_RANK, dtype=np.float32)
    scores = centers[np.arange(count) % _LABELS]
    scores = (scores + random.standard_normal((count, _RANK), np.float32)) * spread
    rows = scores @ directions
    rows += random.standard_normal((count, _WIDTH), np.float32) * np.float32(0.3)
    return np.clip(rows, 0, 6, out=rows)


def _write(
    table: Path, images: Sequence[ImageFile], random: np.random.Generator, model_id: str
) -> dict[str, Any]:
    """Write one Parquet file and return its `add` action."""
    file = table / f"part-{uuid.uuid4()}.snappy.parquet"
    columns = dict(_columns(images, random_features(len(images), random), model_id))
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
    images: Sequence[ImageFile], features: NDArray[np.float32], model_id: str
) -> Iterator[tuple[str, pa.Array]]:
    """Yield the columns of `features/` in order."""
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
