"""Cache the features of a version as one memory-mapped file of float32.

A similarity search reads every vector. In the table they are compressed Parquet, possibly on remote storage; the
cache in ``~/.cache/pomona/vectors/<table>/<version>/`` takes 5 KB per image and is created by the first search of a
version. The two most recently used versions of each lake are kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.cache_dir import cache_folder
from streaming.counts import format_count
from streaming.delta.reader import open_table, query, query_rows
from streaming.errors import ExternalError, SnapshotError
from streaming.lake.layout import Lake

if TYPE_CHECKING:
    from deltalake import DeltaTable

Matrix = NDArray[np.float32]

#: Rows per block: a multiple of 4,096, so that each block starts at a memory page for any width.
BLOCK_ROWS = 4096
#: Number of versions that are kept per lake.
KEPT_VERSIONS = 2
_VECTORS_FILE, _ROWS_FILE, _METADATA_FILE = "vectors.f32", "rows.arrow", "metadata.json"
_COLUMNS = ("path", "label", "content_hash", "model_id")
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS[:3]] + [("norm", pa.float64())])
_ABANDONED = 86_400.0  # seconds after which an unfinished cache is deleted


@dataclass(frozen=True, eq=False)
class Vectors:
    """The cached features of a version, memory-mapped.

    Attributes
    ----------
    version : int
        Version of the features table.
    model_id : str
        The model that computed all features; empty if there are no rows.
    width : int
        Number of features per row.
    rows : pyarrow.Table
        ``path``, ``label``, ``content_hash`` and ``norm`` (length of the feature vector) of each row.
    """

    version: int
    model_id: str
    width: int
    rows: pa.Table
    _file: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.rows.num_rows)

    def __del__(self) -> None:
        """Close the file; blocks that are still referenced stay mapped."""
        with suppress(OSError, AttributeError):
            os.close(self._file)

    @cached_property
    def norms(self) -> NDArray[np.float64]:
        """Lengths of the vectors, shape (n,)."""
        norms: NDArray[np.float64] = self.rows["norm"].to_numpy()
        return norms

    def block(self, number: int) -> Matrix:
        """Map a block of up to `BLOCK_ROWS` rows, shape (rows, width); it is unmapped with the last reference."""
        first = number * BLOCK_ROWS
        rows = min(BLOCK_ROWS, len(self) - first)
        size = rows * self.width * 4
        mapped = mmap.mmap(self._file, size, prot=mmap.PROT_READ, offset=first * self.width * 4)
        return np.frombuffer(mapped, np.float32).reshape(rows, self.width)

    @property
    def blocks(self) -> range:
        """Block numbers."""
        return range(-(-len(self) // BLOCK_ROWS))

    def take(self, indices: NDArray[np.int64]) -> Matrix:
        """Copy the rows with the given indices, shape (m, width)."""
        rows = np.empty((len(indices), self.width), np.float32)
        for number in np.unique(indices // BLOCK_ROWS):
            in_block = indices // BLOCK_ROWS == number
            rows[in_block] = self.block(int(number))[indices[in_block] % BLOCK_ROWS]
        return rows

    def rows_at(self, indices: NDArray[np.int64], columns: Sequence[str]) -> list[dict[str, str]]:
        """Return text columns of the rows with the given indices, in this order.

        `pyarrow.Table.take` would copy each column to one array first, which cannot contain more than 2 GiB of text.
        """
        batches = self.rows.select(columns).to_batches()
        starts = np.cumsum([0, *(batch.num_rows for batch in batches)])[:-1]
        order = np.argsort(indices, kind="stable")
        parts = np.split(indices[order], np.searchsorted(indices[order], starts))[1:]
        selected = (
            batch.take(pa.array(part - start)).to_pylist()
            for batch, start, part in zip(batches, starts, parts, strict=True)
            if len(part)
        )
        rows: list[dict[str, str]] = [{}] * len(indices)
        for position, row in zip(order, chain.from_iterable(selected), strict=True):
            rows[position] = row
        return rows


def load_vectors(lake: Lake, version: int) -> Vectors:
    """Open the cache of a version of the features table; create it if it does not exist.

    Raises
    ------
    SnapshotError
        If the version has rows of more than one model, or features that are not finite.
    ExternalError
        If the disk has not enough free space.
    OSError
        If the cache exists and cannot be opened.
    """
    table = open_table(lake.features, version)
    # The table ID distinguishes a lake from one that was deleted and created again at the same location.
    key = hashlib.sha256(f"{lake.features}\n{table.metadata().id}".encode()).hexdigest()[:24]
    folder = cache_folder() / "vectors" / key / str(version)
    vectors = _open(folder)
    if vectors is None:
        _build(table, lake, folder)
        vectors = _open(folder)
        if vectors is None:
            raise ExternalError(f"{folder}: deleted or damaged while it was created; try again")
    with suppress(OSError):
        os.utime(folder)
    _delete_old(folder.parent)
    return vectors


def _open(folder: Path) -> Vectors | None:
    """Open a cache folder; delete it and return None if it is incomplete.

    OSError if it cannot be opened for another reason, such as too many open files.
    """
    try:
        metadata = json.loads((folder / _METADATA_FILE).read_bytes())
        rows = pa.ipc.open_file(pa.memory_map(str(folder / _ROWS_FILE))).read_all()
        file = os.open(folder / _VECTORS_FILE, os.O_RDONLY)
        vectors = Vectors(int(folder.name), metadata["model_id"], metadata["width"], rows, file)
        consistent = rows.num_rows == metadata["rows"] and rows.schema.equals(_SCHEMA)
        if consistent and os.fstat(file).st_size == rows.num_rows * vectors.width * 4:
            return vectors
    except OSError as error:
        # Arrow reports a truncated file as an OSError without a number.
        if error.errno not in (errno.ENOENT, None):
            raise
    except (ValueError, KeyError, pa.ArrowException):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _build(table: DeltaTable, lake: Lake, folder: Path) -> None:
    """Write the cache to a temporary folder and rename it, since another process may create the same cache."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        _check_free_space(table, folder)
        _write(table, lake, temporary)
        with suppress(OSError):  # another process has created the cache first
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_free_space(table: DeltaTable, folder: Path) -> None:
    size = query_rows(table, "count(*) AS rows, max(cardinality(features)) AS width")[0]
    needed = size["rows"] * (size["width"] or 0) * 4
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise ExternalError(
            f"{folder.parent}: the vectors of {format_count(size['rows'], 'image')} need {needed / 1e9:.1f} GB, "
            f"but only {free / 1e9:.1f} GB are "
            "free: free disk space, or set XDG_CACHE_HOME to a folder on another disk"
        )


def _write(table: DeltaTable, lake: Lake, folder: Path) -> None:
    models: set[str] = set()
    width = count = 0
    with (
        (folder / _VECTORS_FILE).open("wb") as vectors,
        pa.ipc.new_file(str(folder / _ROWS_FILE), _SCHEMA) as rows,
    ):
        for batch in query(table, f"{', '.join(_COLUMNS)}, features"):
            if not batch.num_rows:
                continue
            columns = [batch.column(index).cast(pa.string()) for index in range(len(_COLUMNS))]
            values = _feature_matrix(batch, lake, table.version())
            models |= set(columns[3].unique().to_pylist())
            width, count = values.shape[1], count + len(values)
            values.tofile(vectors)
            norms = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
            rows.write_batch(pa.record_batch([*columns[:3], pa.array(norms)], schema=_SCHEMA))
    if len(models) > 1:
        raise SnapshotError(
            f"version {table.version()} of {lake.features} mixes the models {', '.join(sorted(models))}: "
            "features of different models cannot be compared: use an earlier version, or delete the rows of the others "
            "with `pomona forget`"
        )
    metadata = {"rows": count, "width": width, "model_id": max(models, default="")}
    (folder / _METADATA_FILE).write_text(json.dumps(metadata))


def _feature_matrix(batch: pa.RecordBatch, lake: Lake, version: int) -> Matrix:
    column = batch.column(len(_COLUMNS))
    values: Matrix = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if len(values) % batch.num_rows == 0 and np.isfinite(values).all():
        return values.reshape(batch.num_rows, -1)
    raise SnapshotError(
        f"version {version} of {lake.features} has features that are not finite numbers: "
        "ingest those images again, or use an earlier version"
    )


def _delete_old(folder: Path) -> None:
    """Delete all but the most recently used versions, and caches that were never finished."""
    with suppress(OSError):
        entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
        unfinished = [entry for entry in entries if entry.name.startswith(".")]
        for entry in [entry for entry in entries if entry not in unfinished][KEPT_VERSIONS:]:
            shutil.rmtree(entry, ignore_errors=True)
        for entry in unfinished:
            if time.time() - entry.stat().st_mtime > _ABANDONED:
                shutil.rmtree(entry, ignore_errors=True)
