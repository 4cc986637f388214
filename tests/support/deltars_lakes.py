"""Lakes of made-up features that delta-rs writes, without Spark; scikit-learn says what is near in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import deltalake
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from support.feature_lakes import Images


def append(lake: Lake, rows: Images, hashes: list[str] | None = None) -> None:
    """Append rows as one more version; `hashes` are of their contents, in place of numbers."""
    table = rows.table()
    if hashes:
        place = table.schema.get_field_index("content_hash")
        table = table.set_column(place, "content_hash", [hashes])
    deltalake.write_deltalake(lake.features.removeprefix("file:"), table, mode="append")


def create_deltars_lake(folder: Path, *deliveries: Images) -> Lake:
    """A lake with a version for each delivery, from 0 on."""
    lake = Lake.at(str(folder))
    folder.mkdir(parents=True)
    write_format(lake.root)
    for rows in deliveries:
        append(lake, rows)
    return lake


def random_images(count: int, width: int, seed: int = 0) -> Images:
    """Vectors as ReLU leaves them, of no particular likeness."""
    vectors = np.random.default_rng(seed).normal(0.3, 1, (count, width)).clip(0).astype(np.float32)
    paths = [f"file:/photos/{seed}/{i:06}.jpg" for i in range(count)]
    return Images(paths, [f"label {i % 7}" for i in range(count)], vectors)


def concatenate(*parts: Images) -> Images:
    """One set of rows of several."""
    first = parts[0]
    return replace(
        first,
        paths=[path for part in parts for path in part.paths],
        labels=[label for part in parts for label in part.labels],
        vectors=np.concatenate([part.vectors for part in parts]),
    )


def nearest_neighbors(
    rows: Images, asked: NDArray[np.floating], top: int
) -> list[tuple[str, float]]:
    """The nearest paths and their cosines, by scikit-learn in float64."""
    oracle = NearestNeighbors(n_neighbors=top, metric="cosine", algorithm="brute")
    oracle.fit(rows.vectors.astype(np.float64))
    distances, places = oracle.kneighbors(asked.astype(np.float64)[np.newaxis])
    return [(rows.paths[i], 1 - d) for i, d in zip(places[0], distances[0], strict=True)]


def use_cache_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Have the cache of vectors, and no other, lie in a folder of the test's."""
    monkeypatch.setattr("pomona.similarity.vector_cache.cache_folder", lambda: folder)
    return folder / "vectors"
