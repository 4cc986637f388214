"""Tests for the inputs that the Python interface accepts and rejects, without Spark."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

import pomona
import streaming.errors
from batch_pca.pca.projection import Projection
from pomona.api import OpenLake, Pca
from streaming.errors import LakeError, PomonaError, SnapshotError, SourceError, UsageError
from support.lakes.deltars_lakes import create_deltars_lake, random_images, use_cache_folder
from support.lakes.history_lake import create_history_lake

WIDTH = 1280


def pca(width: int, components: int = 1) -> Pca:
    """A PCA that has not been published."""
    basis = np.eye(components, width)
    refit: Any = None
    return Pca(refit, Projection(9, np.ones(width), np.full(width, 2.0), basis))


def feature_chunk(vectors: NDArray[np.float32]) -> pa.ListArray:
    """Vectors as the features table has them: lists of float32 with 32-bit offsets."""
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))


def test_transform_of_chunks_equals_transform_of_rows() -> None:
    vectors = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    chunks = [feature_chunk(vectors[rows]) for rows in (slice(4), slice(0), slice(4, 9))]
    model = pca(5, 3)
    scores = model.transform(pa.table({"features": pa.chunked_array(chunks)}))
    np.testing.assert_allclose(scores, model.transform(vectors))
    empty = pa.table({"features": pa.chunked_array([], pa.list_(pa.float32()))})
    assert model.transform(empty).shape == (0, 3)


def test_transform_accepts_more_values_than_list_offsets_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Projection, "transform", lambda self, rows: rows[:, :1])
    chunk = feature_chunk(np.zeros((8192, WIDTH), np.float32))
    chunks = pa.chunked_array([chunk] * 206)  # the chunks share their memory
    assert len(chunks) * WIDTH > 2**31
    assert pca(WIDTH).transform(pa.table({"features": chunks})).shape == (206 * 8192, 1)


def test_locations_may_be_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cache_folder(monkeypatch, tmp_path / "cache")
    rows = random_images(3, 4)
    root = create_deltars_lake(tmp_path / "lake", rows).root
    lake = pomona.open_lake(tmp_path / "lake")
    assert lake.root == root
    assert lake.export(tmp_path / "features.csv") == 3
    assert len(lake.similar(Path(rows.paths[0].removeprefix("file:"))).neighbors) == 2
    with pytest.raises(LakeError, match=f"{tmp_path} is not a lake"):
        pomona.refit(tmp_path)
    with pytest.raises(SourceError, match=f"{tmp_path}/missing"):
        pomona.ingest(tmp_path / "missing", tmp_path / "lake")


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 2.0, 3.0]],
        pa.table({"path": ["file:/a.jpg"]}),
        pd.DataFrame({"path": ["file:/a.jpg"]}),
        pd.DataFrame(),
        None,
    ],
)
def test_transform_names_accepted_inputs(rows: Any) -> None:
    expected = "an array of shape (n, 3), or a pyarrow.Table or pandas.DataFrame with the column `features`"
    with pytest.raises(ValueError, match=re.escape(expected)):
        pca(3).transform(rows)


def test_transform_of_frames(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    frame = pd.DataFrame({"features": list(vectors)})
    model = pca(5, 2)
    np.testing.assert_allclose(model.transform(frame), model.transform(vectors))
    assert model.transform(frame[:0]).shape == model.transform(vectors[:0]).shape == (0, 2)


def test_features_have_requested_columns(tmp_path: Path) -> None:
    lake = pomona.open_lake(create_deltars_lake(tmp_path / "lake", random_images(3, 4)).root)
    for columns in ([], ["label"], ["label", "path"]):
        table = lake.features_arrow(columns=columns)
        assert (table.num_rows, table.column_names) == (3, columns)
        assert lake.features_pandas(columns=columns).shape == (3, len(columns))
    with pytest.raises(
        UsageError, match="no such column of the features: labels, x: give some of path, label"
    ):
        lake.features_arrow(columns=["label", "labels", "x"])


def test_options_are_keyword_only() -> None:
    def positional(function: Any) -> list[str]:
        parameters = inspect.signature(function).parameters.values()
        return [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY][1:]

    methods = {name: value for name, value in vars(OpenLake).items() if name[0] != "_"}
    assert {name: positional(method) for name, method in methods.items()} == {
        "diff": ["one", "other"],
        "duplicates": [],
        "export": ["file"],
        "features": [],
        "features_arrow": [],
        "features_pandas": [],
        "latest_pca": [],
        "pca": ["refit"],
        "prune": [],
        "query": ["sql"],
        "reduced_arrow": ["refit"],
        "refits": [],
        "similar": ["image"],
        "version": ["as_of"],
    }


def test_reduced_arrow_reads_only_the_reduced_rows(tmp_path: Path) -> None:
    history_lake = create_history_lake(tmp_path / "lake")
    last = history_lake.refits[1]
    rows = pa.table({"path": ["file:/a.jpg"], "label": ["Kiwi"], "reduced": [[1.0, 2.0]]})
    Path(last.folder.parquet.removeprefix("file:")).mkdir(parents=True)
    pa.parquet.write_table(rows, f"{last.folder.parquet.removeprefix('file:')}/part-0.parquet")
    for name in ("moments.npz", "components.npz"):
        Path(history_lake.folder, "reduced", last.refit_id, name).unlink()
    lake = pomona.open_lake(history_lake.folder)
    assert lake.reduced_arrow().to_pylist() == rows.to_pylist()
    with pytest.raises(SnapshotError, match=r"moments.npz or components.npz is missing"):
        lake.latest_pca()


def test_package_exports_every_exception() -> None:
    errors = {
        name
        for name, value in vars(streaming.errors).items()
        if isinstance(value, type) and issubclass(value, PomonaError)
    }
    assert errors <= set(pomona.__all__)
    assert {getattr(pomona, name) for name in errors} == {
        getattr(streaming.errors, name) for name in errors
    }
    assert pomona.RefitResult.__module__ == "batch_pca.refit"
