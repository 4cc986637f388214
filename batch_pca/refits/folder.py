"""Write the files of a refit below ``reduced/<refit id>/``; its row in ``refits/`` publishes them."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import uuid
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from batch_pca.pca.fit import Reduction
from batch_pca.pca.moments import Moments
from batch_pca.pca.spark_pipeline import pipeline_model
from streaming.errors import ExternalError, LakeError, SnapshotError
from streaming.lake.layout import Lake
from streaming.storage.documents import InvalidDocumentError, parse_document
from streaming.storage.interface import is_entry_name, is_s3, join_name, local_path
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

#: Columns of the projected rows, and of the published Parquet files.
VECTOR_SCHEMA = pa.schema(
    [("path", pa.string()), ("label", pa.string()), ("reduced", pa.list_(pa.float64()))]
)

# Marker file of a refit that is not published yet.
_MARKER = "_unpublished.json"
# Key in the marker file of a refit whose row is deleted, or about to be.
_REMOVAL = "removal"
_MARKER_SCHEMA = {"host": str, "pid": int, "at": datetime}
# Spark ignores folders whose name begins with an underscore.
_CSV_PIECES = "_csv"
# A refit of another host that is older counts as dead: its process cannot be checked from here.
_ABANDONED_AFTER = timedelta(days=1)
# URI of each folder that a refit of this process writes, and the content of its marker file.
_ACTIVE: dict[str, bytes] = {}


@dataclass(frozen=True)
class RefitFolder:
    """Folder of one refit: ``parquet/``, ``reduced.csv``, ``pipeline/``, ``moments.npz``, ``report.html``."""

    uri: str

    @classmethod
    def of(cls, lake: Lake, refit_id: str) -> RefitFolder:
        """Return the folder of a refit; LakeError if its id is not a name, and so might lead out of ``reduced/``."""
        return cls(join_name(lake.reduced, refit_id, "refit"))

    @property
    def parquet(self) -> str:
        """URI of the reduced vectors as Parquet: ``path``, ``label``, ``reduced``."""
        return f"{self.uri}/parquet"

    @property
    def csv(self) -> str:
        """URI of the reduced vectors as CSV, one column per component: ``path``, ``label``, ``pc1`` …"""
        return f"{self.uri}/reduced.csv"

    @property
    def csv_pieces(self) -> str:
        """URI of the pieces of the CSV, which the workers write and the driver concatenates and deletes."""
        return f"{self.uri}/{_CSV_PIECES}"

    def csv_piece(self, name: str) -> str:
        """Return the name of a piece of the CSV, relative to the folder."""
        return f"{_CSV_PIECES}/{name}.csv"

    @property
    def pipeline(self) -> str:
        """URI of the `pyspark.ml.PipelineModel`."""
        return f"{self.uri}/pipeline"

    @property
    def report(self) -> str:
        """URI of the HTML report."""
        return f"{self.uri}/report.html"

    def parquet_files(self) -> Iterator[Path | io.BytesIO]:
        """Yield the Parquet files of the reduced vectors in the order of Spark's part numbers, for pyarrow."""
        storage, root = open_storage(self.uri), self._lake_root
        for path in sorted(file.path for file in storage.list(self.parquet, within=root)):
            if path.endswith(".parquet"):
                yield io.BytesIO(storage.read(path, root)) if is_s3(path) else local_path(path)

    @property
    def _lake_root(self) -> str:
        """URI of the lake, out of which no link is followed."""
        return self.uri.rsplit("/", 2)[0]

    @property
    def refit_id(self) -> str:
        """Name of the folder."""
        return self.uri.rpartition("/")[2]

    def exists(self) -> bool:
        """Return whether the folder contains any file."""
        return any(open_storage(self.uri).list(self.uri, within=self._lake_root))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        open_storage(self.uri).write(f"{self.uri}/{name}", content)

    def read(self, name: str) -> bytes:
        """Read a small file; LakeError if it is a link out of the lake."""
        return open_storage(self.uri).read(f"{self.uri}/{name}", self._lake_root)

    def delete(self) -> None:
        """Delete the folder, its marker file last, so that an interrupted deletion is completed later."""
        open_storage(self.uri).delete_tree(self.uri, last=f"{self.uri}/{_MARKER}")


@contextmanager
def create_folder(lake: Lake, refit_id: str) -> Iterator[RefitFolder]:
    """Create the folder of a new refit, with a marker file that names this process until `mark_complete`.

    Inside the context, other threads of this process do not remove the folder.
    """
    folder = RefitFolder.of(lake, refit_id)
    marker = _ACTIVE[folder.uri] = _marker()
    try:
        folder.write(_MARKER, marker)
        yield folder
    finally:
        del _ACTIVE[folder.uri]


def check_not_removed(folder: RefitFolder) -> None:
    """Check the marker file of a folder in the context of `create_folder`, before its refit is published.

    Raises
    ------
    ExternalError
        If another process has deleted or replaced it: to that process, this one seemed to have ended.
    """
    try:
        unchanged = folder.read(_MARKER) == _ACTIVE[folder.uri]
    except FileNotFoundError:
        unchanged = False
    if not unchanged:
        raise ExternalError(
            f"{folder.uri}: another refit or prune has removed files of this refit, as if its process had ended: give "
            "each container that uses the lake its own host name, then refit again"
        )


def mark_for_removal(folder: RefitFolder) -> None:
    """Write the marker file into the folder of a published refit, before its row is deleted.

    Without its row, the refit then is one that is not published: if this process is killed, the next refit or prune
    deletes the folder. As long as the row exists, the marker file has no effect.
    """
    folder.write(_MARKER, _marker(**{_REMOVAL: True}))


def _marker(**more: bool) -> bytes:
    """Return the content of a marker file of this process, which is different each time."""
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "at": datetime.now(UTC).isoformat()}
    return json.dumps(owner | {"token": uuid.uuid4().hex} | more).encode()


def mark_complete(folder: RefitFolder) -> None:
    """Remove the marker file. Call it after the commit of the refit's row."""
    open_storage(folder.uri).delete(f"{folder.uri}/{_MARKER}")


@dataclass(frozen=True)
class AbandonedFolder:
    """A folder with a marker file of a process that has ended, or of a process that removes the refit."""

    folder: RefitFolder
    has_ended: bool


def find_abandoned(lake: Lake, skip: Collection[str] = ()) -> list[AbandonedFolder]:
    """Find the folders of killed refits: the marker file exists, its process does not.

    Also those of refits that are being removed: without a row, they are deleted even if that process is running.

    Parameters
    ----------
    lake : Lake
    skip : collection of str
        Refit ids whose folders are not looked at: after a year, reading thousands of them takes minutes.
    """
    # Only direct children of reduced/, as `create_folder` makes them: a symbolic link in a folder may lead out of
    # the lake, and abandoned folders are deleted.
    names = sorted(filter(is_entry_name, open_storage(lake.root).list_folders(lake.reduced)))
    abandoned = []
    for folder in (RefitFolder.of(lake, name) for name in names if name not in skip):
        try:
            owner = parse_document(folder.read(_MARKER), _MARKER_SCHEMA)
            has_ended = _has_ended(owner, folder)
        except FileNotFoundError:  # published in the meantime, or no folder of a refit
            continue
        except (InvalidDocumentError, LakeError, OverflowError) as error:
            marker = f"{folder.uri}/{_MARKER}"
            log.warning("%s is not a marker of Pomona (%s): delete it", marker, error)
            continue
        if has_ended or owner.get(_REMOVAL):
            abandoned.append(AbandonedFolder(folder, has_ended))
    return abandoned


def remove_abandoned(
    abandoned: list[AbandonedFolder], published: Collection[str]
) -> list[RefitFolder]:
    """Delete the folders of killed refits, and return them; of a published refit, delete only the marker file.

    Parameters
    ----------
    abandoned : list of AbandonedFolder
        Result of `find_abandoned`.
    published : collection of str
        Refit ids in ``refits/``, read after `find_abandoned` returned: no process can publish these folders later.
    """
    removed = []
    for each in abandoned:
        if each.folder.refit_id not in published:
            # The marker file is deleted last. If its process is running nevertheless, `check_not_removed` finds this.
            with suppress(PermissionError):  # its files cannot be deleted either
                mark_for_removal(each.folder)
            each.folder.delete()
            removed.append(each.folder)
        elif each.has_ended:
            mark_complete(each.folder)
    return removed


def _has_ended(owner: dict[str, Any], folder: RefitFolder) -> bool:
    created_at = datetime.fromisoformat(owner["at"]).astimezone(UTC)
    if owner["host"] != socket.gethostname():
        return datetime.now(UTC) - created_at > _ABANDONED_AFTER
    if owner["pid"] < 1:  # os.kill would address process groups
        raise InvalidDocumentError("pid is below 1")
    if owner["pid"] == os.getpid():
        return folder.uri not in _ACTIVE
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def write_fit(
    spark: SparkSession, folder: RefitFolder, reduction: Reduction, moments: Moments
) -> None:
    """Write the PipelineModel, and the statistics and components that later refits read."""
    ratio = reduction.explained_variance_ratio[: len(reduction.components)]
    pipeline_model(spark, reduction, ratio).write().save(folder.pipeline)
    folder.write("moments.npz", moments.to_bytes())
    arrays = io.BytesIO()
    np.savez(arrays, allow_pickle=False, components=reduction.components)
    folder.write("components.npz", arrays.getvalue())


def read_moments(folder: RefitFolder) -> Moments | None:
    """Read the statistics of a published refit; return None if they are missing or damaged."""
    try:
        moments = Moments.from_bytes(folder.read("moments.npz"))
    except (FileNotFoundError, SnapshotError):
        return None
    arrays = (moments.shift, moments.total, moments.cross, moments.rounding)
    valid = moments.count > 1 and all(np.isfinite(array).all() for array in arrays)
    return moments if valid else None


def read_components(folder: RefitFolder, width: int) -> NDArray[np.float64] | None:
    """Read the components of a published refit, shape (k, width); return None if they are missing or damaged."""
    try:
        content = folder.read("components.npz")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            components: NDArray[np.float64] = arrays["components"]
            if components.dtype != np.float64 or components.shape != (len(components), width):
                raise ValueError(f"an array of {components.dtype} of shape {components.shape}")
            if not np.isfinite(components).all():
                raise ValueError("NaN or infinity")
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning(
            "cannot read %s/components.npz (%s): component signs may change", folder.uri, error
        )
        return None
    return components
