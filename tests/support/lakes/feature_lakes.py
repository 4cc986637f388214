"""Create lakes of generated features without images; read them with delta-rs and fit them with scikit-learn."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deltalake
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.delta.tables import create_table
from streaming.delta.writer import Writer
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.lake.schemas import features_table
from streaming.storage.interface import is_s3, local_path
from support.lakes.table_rows import frame_of
from support.processes.shared_folders import created_once

if TYPE_CHECKING:  # importing scikit-learn takes seconds
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

WIDTH = 64
CONSTANT = {1: 0.0, 5: 0.1, 9: 6.0}
LABELS = ("Apple Red 1", "Crème, brûlée", 'The "best" kiwi', "two\nlines", "Ananas")
WRITTEN = datetime(2026, 3, 3, 8, 30, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Images:
    """Rows of a features table: paths, labels and vectors (n, width), all of one model."""

    paths: list[str]
    labels: list[str]
    vectors: NDArray[np.float32]
    model_id: str = "made-up"

    def table(self) -> pa.Table:
        """Return all columns of the table."""
        count = len(self.paths)
        return pa.table(
            {
                "path": self.paths,
                "label": self.labels,
                "length": pa.array([4711] * count, pa.int64()),
                "modification_time": pa.array([WRITTEN] * count, pa.timestamp("us", "UTC")),
                "content_hash": [f"{i:064x}" for i in range(count)],
                "width": pa.array([100] * count, pa.int32()),
                "height": pa.array([100] * count, pa.int32()),
                "format": ["JPEG"] * count,
                "features": pa.array(list(self.vectors), pa.list_(pa.float32())),
                "model_id": [self.model_id] * count,
                "ingested_at": pa.array([WRITTEN] * count, pa.timestamp("us", "UTC")),
                "batch_id": pa.array([-1] * count, pa.int64()),
            }
        )


def images(
    count: int,
    seed: int,
    below: str = "file:/photos",
    width: int = WIDTH,
    model_id: str = "made-up",
) -> Images:
    """Return features as after a ReLU6, with a cluster per label and three constant columns."""
    directions = np.linalg.qr(np.random.default_rng(99).normal(size=(width, 8)))[0]
    centers = np.random.default_rng(7).normal(size=(len(LABELS), 8)) * 2
    random = np.random.default_rng(seed)
    scores = (centers[np.arange(count) % len(LABELS)] + random.normal(size=(count, 8))) * 0.7 ** (
        np.arange(8)
    )
    rows = 1 + scores @ directions.T * np.sqrt(width) / 4 + random.normal(0, 0.3, (count, width))
    vectors = np.clip(rows, 0, 6).astype(np.float32)
    vectors[:, list(CONSTANT)] = list(CONSTANT.values())
    labels = [LABELS[i % len(LABELS)] for i in range(count)]
    paths = [f"{below}/{labels[i]}/{seed}-{i}.jpg" for i in range(count)]
    return Images(paths, labels, vectors, model_id)


def new_lake(spark: Any, folder: Path | str, width: int = WIDTH) -> Lake:
    """Create a lake with an empty features table at version 1: in a local folder, as a copy of the first one."""
    lake = Lake.at(str(folder))
    if is_s3(lake.root):
        return _create_lake(spark, lake, width)
    template = created_once(
        f"feature-lake-{width}", lambda path: _create_lake(spark, Lake.at(str(path)), width)
    )
    shutil.copytree(template, local_path(lake.root), dirs_exist_ok=True)
    return lake


def _create_lake(spark: Any, lake: Lake, width: int) -> Lake:
    write_format(lake.root)
    create_table(spark, lake.features, features_table(width))
    spark.sql(f"ALTER TABLE delta.`{lake.features}` SET TBLPROPERTIES ('generated' = 'yes')")
    return lake


def commit(spark: Any, lake: Lake, rows: Images, *, known: bool = False) -> None:
    """Append rows, or merge them by path."""
    writer = Writer(spark, lake.features, {"source": "file:/photos"})
    writer.upsert(frame_of(spark, rows.table()), merge=known)


def delete(spark: Any, lake: Lake, paths: list[str]) -> None:
    """Delete rows by path."""
    Writer(spark, lake.features, {"source": "file:/photos"}).delete(paths)


def delta(location: str, version: int | None = None) -> deltalake.DeltaTable:
    """Open a table of a local lake with delta-rs."""
    return deltalake.DeltaTable(location.removeprefix("file:"), version=version)


def vectors_of(lake: Lake, version: int | None = None, below: str = "") -> NDArray[np.float64]:
    """Return the features (n, width) of a version, ordered by path, read with delta-rs."""
    rows = delta(lake.features, version).to_pyarrow_table(columns=["path", "features"]).to_pylist()
    selected = sorted(
        (row for row in rows if row["path"].startswith(below)), key=lambda r: r["path"]
    )
    return np.array([row["features"] for row in selected])


def refit_rows(lake: Lake) -> dict[str, dict[str, Any]]:
    """Return the rows of ``refits/`` by id, read with delta-rs."""
    rows = delta(lake.refits).to_pyarrow_table().to_pylist()
    return {row["refit_id"]: row for row in rows}


def refit_folders(lake: Lake) -> set[str]:
    """Return the names of the folders in ``reduced/``."""
    folder = Path(lake.reduced.removeprefix("file:"))
    return {entry.name for entry in folder.iterdir()} if folder.exists() else set()


@dataclass(frozen=True, eq=False)
class Oracle:
    """StandardScaler and full PCA of rows, fitted by scikit-learn."""

    scaler: StandardScaler
    pca: PCA

    @classmethod
    def fit(cls, rows: NDArray[np.float64]) -> Oracle:
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(rows)
        return cls(scaler, PCA(svd_solver="full").fit(scaler.transform(rows)))

    def scores(self, rows: NDArray[np.float64], k: int) -> NDArray[np.float64]:
        """Return scores (n, k) for scaling with the sample standard deviation, as Spark ML does."""
        factor = np.sqrt(1 - 1 / self.scaler.n_samples_seen_)
        return np.asarray(self.pca.transform(self.scaler.transform(rows))[:, :k] * factor)


def assert_equal_up_to_sign(
    ours: NDArray[np.float64], expected: NDArray[np.float64], axis: int, atol: float
) -> None:
    """Assert that the rows (axis 1) or columns (axis 0) of two matrices are equal up to sign."""
    signs = np.sign((ours * expected).sum(axis=axis, keepdims=True))
    np.testing.assert_allclose(ours, expected * signs, atol=atol, rtol=0)
