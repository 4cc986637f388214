"""Cache the features of a version as one memory-mapped file of float32.

A similarity search reads every vector. In the table they are compressed Parquet, possibly on remote storage; the
cache in ``~/.cache/pomona/vectors/<table>/<version>/`` takes 5 KB per image and is created by the first search of a
version. The two most recently used versions of each lake are kept.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.cache_dir import cache_folder
from streaming.delta.reader import open_table, query, query_rows
from streaming.errors import ExternalError, SnapshotError
from streaming.lake.layout import Lake

if TYPE_CHECKING:
    from deltalake import DeltaTable

Matrix = NDArray[np.float32]

#: Rows of a block: a multiple of 4,096, so that each block begins on a page of memory whatever the width.
BLOCK_ROWS = 4096
KEPT = 2
_VECTORS, _ROWS, _FACTS = "vectors.f32", "rows.arrow", "facts.json"
_COLUMNS = ("path", "label", "content_hash", "model_id")
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS[:3]] + [("norm", pa.float64())])
_ABANDONED = 86_400.0  # seconds after which what somebody was building is nobody's any more


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of a version, and what goes with each.

    Attributes
    ----------
    version : int
    model_id : str
        Of all of them; empty without rows.
    width : int
    rows : pyarrow.Table
        ``path``, ``label``, ``content_hash`` and ``norm`` (the vector's length) of each, mapped into memory.
    """

    version: int
    model_id: str
    width: int
    rows: pa.Table
    _file: int

    def __len__(self) -> int:
        """How many there are."""
        return int(self.rows.num_rows)

    def __del__(self) -> None:
        """Close the file; blocks that are in use stay."""
        with suppress(OSError, AttributeError):
            os.close(self._file)

    @cached_property
    def norms(self) -> NDArray[np.float64]:
        """Length of each vector, (n,); 0 where there is nothing in it."""
        norms: NDArray[np.float64] = self.rows["norm"].to_numpy()
        return norms

    def block(self, number: int) -> Matrix:
        """`BLOCK_ROWS` rows, or what is left of them, shape (rows, width); its memory is free once nobody holds it."""
        first = number * BLOCK_ROWS
        rows = min(BLOCK_ROWS, len(self) - first)
        size = rows * self.width * 4
        mapped = mmap.mmap(self._file, size, prot=mmap.PROT_READ, offset=first * self.width * 4)
        return np.frombuffer(mapped, np.float32).reshape(rows, self.width)

    @property
    def blocks(self) -> range:
        """Numbers of the blocks."""
        return range(-(-len(self) // BLOCK_ROWS))

    def take(self, places: NDArray[np.int64]) -> Matrix:
        """Some rows, by their places, shape (m, width): a copy."""
        taken = np.empty((len(places), self.width), np.float32)
        for number in np.unique(places // BLOCK_ROWS):
            here = places // BLOCK_ROWS == number
            taken[here] = self.block(int(number))[places[here] % BLOCK_ROWS]
        return taken


def load_vectors(lake: Lake, version: int) -> Vectors:
    """Open the cache of a version, and make it first where there is none.

    Parameters
    ----------
    lake : Lake
    version : int
        Of the features.

    Raises
    ------
    SnapshotError
        Where the version has rows of two models, or values that are no numbers.
    ExternalError
        Where the disk has no room for it.
    """
    table = open_table(lake.features, version)
    # A lake that was deleted and made anew at the same place has tables of other ids.
    key = hashlib.sha256(f"{lake.features}\n{table.metadata().id}".encode()).hexdigest()[:24]
    folder = cache_folder() / "vectors" / key / str(version)
    found = _open(folder)
    if found is None:
        _build(table, lake, folder)
        found = _open(folder)
        if found is None:
            raise ExternalError(f"{folder}: deleted or damaged while it was created; try again")
    with suppress(OSError):
        os.utime(folder)
    _forget_old(folder.parent)
    return found


def _open(folder: Path) -> Vectors | None:
    """What is there; None where it is not whole."""
    try:
        facts = json.loads((folder / _FACTS).read_bytes())
        rows = pa.ipc.open_file(pa.memory_map(str(folder / _ROWS))).read_all()
        file = os.open(folder / _VECTORS, os.O_RDONLY)
        found = Vectors(int(folder.name), facts["model_id"], facts["width"], rows, file)
        whole = rows.num_rows == facts["rows"] and rows.schema.equals(_SCHEMA)
        if whole and os.fstat(file).st_size == rows.num_rows * found.width * 4:
            return found
    except (OSError, ValueError, KeyError, pa.ArrowException):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _build(table: DeltaTable, lake: Lake, folder: Path) -> None:
    """Write all beside, and move it into place whole: another process may do the same."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        _require_room(table, folder)
        _write(table, lake, beside)
        with suppress(OSError):  # somebody else was faster
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _require_room(table: DeltaTable, folder: Path) -> None:
    rows = query_rows(table, "count(*) AS rows, max(cardinality(features)) AS width")[0]
    needed = rows["rows"] * (rows["width"] or 0) * 4
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise ExternalError(
            f"{folder.parent}: {rows['rows']:,} vectors take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: "
            "free disk space, or set XDG_CACHE_HOME to a folder on another disk"
        )


def _write(table: DeltaTable, lake: Lake, folder: Path) -> None:
    models: set[str] = set()
    width = count = 0
    with (
        (folder / _VECTORS).open("wb") as vectors,
        pa.ipc.new_file(str(folder / _ROWS), _SCHEMA) as rows,
    ):
        for batch in query(table, f"{', '.join(_COLUMNS)}, features"):
            if not batch.num_rows:
                continue
            texts = [batch.column(place).cast(pa.string()) for place in range(len(_COLUMNS))]
            values = _matrix(batch, lake, table.version())
            models |= set(texts[3].unique().to_pylist())
            width, count = values.shape[1], count + len(values)
            values.tofile(vectors)
            norms = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
            rows.write_batch(pa.record_batch([*texts[:3], pa.array(norms)], schema=_SCHEMA))
    if len(models) > 1:
        raise SnapshotError(
            f"version {table.version()} of {lake.features} mixes the models {', '.join(sorted(models))}: "
            "features of different models cannot be compared"
        )
    facts = {"rows": count, "width": width, "model_id": max(models, default="")}
    (folder / _FACTS).write_text(json.dumps(facts))


def _matrix(batch: pa.RecordBatch, lake: Lake, version: int) -> Matrix:
    column = batch.column(len(_COLUMNS))
    values: Matrix = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if len(values) % batch.num_rows == 0 and np.isfinite(values).all():
        return values.reshape(batch.num_rows, -1)
    raise SnapshotError(
        f"version {version} of {lake.features} has features that are not finite numbers: "
        "ingest those images again, or ask an earlier version"
    )


def _forget_old(folder: Path) -> None:
    """Remove all but the versions that were asked last, and what was never finished."""
    with suppress(OSError):
        entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
        ended = [entry for entry in entries if entry.name.startswith(".")]
        for entry in [entry for entry in entries if entry not in ended][KEPT:]:
            shutil.rmtree(entry, ignore_errors=True)
        for entry in ended:
            if time.time() - entry.stat().st_mtime > _ABANDONED:
                shutil.rmtree(entry, ignore_errors=True)
