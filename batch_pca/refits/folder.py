"""Write a refit below ``reduced/<refit id>/``; it counts once its row is in ``refits/``."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from batch_pca.pca.fit import Reduction
from batch_pca.pca.moments import Moments
from batch_pca.pca.spark_pipeline import pipeline_model
from streaming.lake.layout import Lake
from streaming.storage.interface import is_s3, local_path
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

_MARK = "_unpublished.json"
# Another machine's refit that has not ended by then never will.
_ABANDONED = timedelta(days=1)


@dataclass(frozen=True)
class Folder:
    """One refit's folder: ``parquet/``, ``reduced.csv``, ``pipeline/``, ``moments.npz``, ``report.html``."""

    uri: str

    @property
    def parquet(self) -> str:
        """The reduced vectors: ``path``, ``label``, ``reduced``."""
        return f"{self.uri}/parquet"

    @property
    def csv(self) -> str:
        """The same, one column a component: ``path``, ``label``, ``pc1`` …"""
        return f"{self.uri}/reduced.csv"

    @property
    def pipeline(self) -> str:
        """The PipelineModel."""
        return f"{self.uri}/pipeline"

    @property
    def report(self) -> str:
        """The page."""
        return f"{self.uri}/report.html"

    def parquet_files(self) -> Iterator[Path | io.BytesIO]:
        """The files of the reduced vectors, in the order in which Spark numbered them, for pyarrow to open."""
        for path in sorted(file.path for file in open_storage(self.uri).list(self.parquet)):
            if path.endswith(".parquet"):
                yield io.BytesIO(open_storage(path).read(path)) if is_s3(path) else local_path(path)

    def exists(self) -> bool:
        """Whether it is still there."""
        return any(open_storage(self.uri).list(self.uri))

    def write(self, name: str, content: bytes) -> None:
        """Put one small file."""
        open_storage(self.uri).write(f"{self.uri}/{name}", content)

    def read(self, name: str) -> bytes:
        """One small file."""
        return open_storage(self.uri).read(f"{self.uri}/{name}")


def begin(lake: Lake, refit_id: str) -> Folder:
    """Start a folder, marked as somebody's work until `end`."""
    folder = Folder(f"{lake.reduced}/{refit_id}")
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "at": datetime.now(UTC).isoformat()}
    folder.write(_MARK, json.dumps(owner).encode())
    return folder


def end(folder: Folder) -> None:
    """Take the mark away, after the row that makes the refit count."""
    open_storage(folder.uri).delete(f"{folder.uri}/{_MARK}")


def find_abandoned(lake: Lake) -> list[Folder]:
    """Find the folders whose refit has ended without taking its mark away: killed, before or after its row."""
    storage = open_storage(lake.root)
    listed = (file.path for file in storage.list(lake.reduced))
    # Only what `begin` has written: a folder's link may lead out of the lake, and what is abandoned is deleted.
    marks = [
        path
        for path in listed
        if path.count("/") == lake.reduced.count("/") + 2 and path.endswith(f"/{_MARK}")
    ]
    found = []
    for mark in marks:
        try:
            owner = json.loads(storage.read(mark))
        except FileNotFoundError:  # published meanwhile
            continue
        if _is_over(owner):
            found.append(Folder(mark.removesuffix(f"/{_MARK}")))
    return found


def remove_abandoned(abandoned: list[Folder], published: Collection[str]) -> None:
    """Delete what killed refits left behind; of one that is published, the mark alone.

    Parameters
    ----------
    abandoned : list of Folder
    published : collection of str
        Ids in ``refits/``, read after `abandoned` was found: nothing can be added for those since.
    """
    for folder in abandoned:
        if folder.uri.rpartition("/")[2] in published:
            end(folder)
        else:
            open_storage(folder.uri).delete_tree(folder.uri)


def _is_over(owner: dict[str, Any]) -> bool:
    if owner["host"] != socket.gethostname():
        return datetime.now(UTC) - datetime.fromisoformat(owner["at"]) > _ABANDONED
    if owner["pid"] == os.getpid():
        return True
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def write_fit(spark: SparkSession, folder: Folder, reduction: Reduction, moments: Moments) -> None:
    """Write the PipelineModel, the statistics it was fitted from, and its arrays for the next refit."""
    pipeline_model(spark, reduction).write().save(folder.pipeline)
    folder.write("moments.npz", moments.to_bytes())
    arrays = io.BytesIO()
    np.savez(arrays, allow_pickle=False, components=reduction.components)
    folder.write("components.npz", arrays.getvalue())


def read_components(folder: Folder) -> NDArray[np.float64] | None:
    """Components of a published refit, (k, d); None where somebody has removed or damaged them."""
    try:
        content = folder.read("components.npz")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            components: NDArray[np.float64] = arrays["components"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s/components.npz cannot be read (%s): signs start anew", folder.uri, error)
        return None
    return components if components.ndim == 2 and components.dtype == np.float64 else None
