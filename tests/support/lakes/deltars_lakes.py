"""Create lakes of generated features with delta-rs, without Spark; find nearest neighbors with scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import deltalake
import numpy as np
import pytest
from numpy.typing import NDArray

from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from support.lakes.feature_lakes import Images


def append(lake: Lake, rows: Images, hashes: list[str] | None = None) -> None:
    """Append rows as a new version; `hashes` replace the generated content hashes."""
    table = rows.table()
    if hashes:
        column = table.schema.get_field_index("content_hash")
        table = table.set_column(column, "content_hash", [hashes])
    deltalake.write_deltalake(lake.features.removeprefix("file:"), table, mode="append")


def create_deltars_lake(folder: Path, *deliveries: Images) -> Lake:
    """Create a lake with one version per delivery, starting with 0."""
    lake = Lake.at(str(folder))
    folder.mkdir(parents=True)
    write_format(lake.root)
    for rows in deliveries:
        append(lake, rows)
    return lake


def random_images(count: int, width: int, seed: int = 0) -> Images:
    """Return random non-negative vectors, as after a ReLU."""
    vectors = np.random.default_rng(seed).normal(0.3, 1, (count, width)).clip(0).astype(np.float32)
    paths = [f"file:/photos/{seed}/{i:06}.jpg" for i in range(count)]
    return Images(paths, [f"label {i % 7}" for i in range(count)], vectors)


def concatenate(*parts: Images) -> Images:
    """Concatenate rows."""
    first = parts[0]
    return replace(
        first,
        paths=[path for part in parts for path in part.paths],
        labels=[label for part in parts for label in part.labels],
        vectors=np.concatenate([part.vectors for part in parts]),
    )


def nearest_neighbors(
    rows: Images, query: NDArray[np.floating], top: int
) -> list[tuple[str, float]]:
    """Return the nearest paths and their cosine similarities, by scikit-learn in float64."""
    from sklearn.neighbors import NearestNeighbors

    oracle = NearestNeighbors(n_neighbors=top, metric="cosine", algorithm="brute")
    oracle.fit(rows.vectors.astype(np.float64))
    distances, indices = oracle.kneighbors(query.astype(np.float64)[np.newaxis])
    return [(rows.paths[i], 1 - d) for i, d in zip(indices[0], distances[0], strict=True)]


def use_cache_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Move the vector cache into a folder of the test."""
    monkeypatch.setattr("pomona.similarity.vector_cache.cache_folder", lambda: folder)
    return folder / "vectors"
