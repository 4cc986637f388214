"""Tests for `find_nearest`: results equal to scikit-learn's NearestNeighbors, across blocks and rounding errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pomona.similarity.nearest import find_nearest
from pomona.similarity.vector_cache import BLOCK_ROWS, Vectors, load_vectors
from support.lakes.deltars_lakes import (
    concatenate,
    create_deltars_lake,
    nearest_neighbors,
    random_images,
    use_cache_folder,
)
from support.lakes.feature_lakes import Images

WIDTH = 40
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_cache_folder(monkeypatch, tmp_path / "cache")


def cached_vectors(folder: Path, rows: Images) -> Vectors:
    return load_vectors(create_deltars_lake(folder / "lake", rows), 0)


def nearest_paths(vectors: Vectors, query: np.ndarray, top: int) -> list[tuple[str, float]]:
    nearest = find_nearest(vectors, query.astype(np.float64), top)
    paths = vectors.rows["path"].take(pa.array(nearest.indices)).to_pylist()
    return list(zip(paths, nearest.cosines.tolist(), strict=True))


def assert_same_neighbors(
    actual: list[tuple[str, float]], expected: list[tuple[str, float]]
) -> None:
    assert [path for path, _ in actual] == [path for path, _ in expected]
    np.testing.assert_allclose([c for _, c in actual], [c for _, c in expected], atol=1e-12, rtol=0)


@pytest.mark.parametrize("count", [1, 7, BLOCK_ROWS, 3 * BLOCK_ROWS + 100])
def test_neighbors_match_sklearn(tmp_path: Path, count: int) -> None:
    rows = random_images(count, WIDTH)
    vectors = cached_vectors(tmp_path, rows)
    for query in (rows.vectors[count // 2], random_images(1, WIDTH, 5).vectors[0]):
        top = min(count, 25)
        assert_same_neighbors(
            nearest_paths(vectors, query, top), nearest_neighbors(rows, query, top)
        )


def test_order_is_exact_below_float32_precision(tmp_path: Path) -> None:
    far = random_images(BLOCK_ROWS, WIDTH)
    query = random_images(1, WIDTH, 9).vectors[0] + 1
    steps = (query + np.arange(300)[::-1, np.newaxis] * np.linspace(0, 3e-6, WIDTH)).astype("f4")
    close = Images([f"file:/close/{i:03}" for i in range(300)], ["close"] * 300, steps)
    rows = concatenate(close, far)
    vectors = cached_vectors(tmp_path, rows)
    nearest = nearest_paths(vectors, query, 40)
    expected = dict(nearest_neighbors(rows, query, 300))
    exact = [expected[path] for path, _ in nearest]
    assert exact == pytest.approx(sorted(expected.values(), reverse=True)[:40], abs=1e-12)
    unit_float32 = rows.vectors / np.linalg.norm(rows.vectors, axis=1, keepdims=True)
    float32_cosines = unit_float32 @ (query / np.linalg.norm(query))
    assert set(np.argsort(-float32_cosines, kind="stable")[:40]) != set(range(260, 300))


def test_equal_cosines_are_sorted_by_path(tmp_path: Path) -> None:
    rows = random_images(50, WIDTH)
    rows.vectors[[3, 40, 20, 7]] = rows.vectors[3] * np.array([[1], [2], [0.5], [3]], "f4")
    backwards = Images(rows.paths[::-1], rows.labels[::-1], rows.vectors[::-1])
    nearest = nearest_paths(cached_vectors(tmp_path, backwards), rows.vectors[3], 3)
    assert [path for path, _ in nearest] == [rows.paths[i] for i in (3, 7, 20)]
    assert {cosine for _, cosine in nearest} == {1.0}


def test_excluded_row_is_left_out(tmp_path: Path) -> None:
    rows = random_images(5, WIDTH)
    vectors = cached_vectors(tmp_path, rows)
    index = vectors.rows["path"].to_pylist().index(rows.paths[2])
    for top in (2, 50):
        nearest = find_nearest(vectors, rows.vectors[2].astype(float), top, index)
        assert index not in nearest.indices
        assert len(nearest.indices) == min(top, 4)


def test_zero_vectors_have_cosine_zero(tmp_path: Path) -> None:
    rows = random_images(6, WIDTH)
    rows.vectors[[1, 2]] = 0
    vectors = cached_vectors(tmp_path, rows)
    assert [cosine for _, cosine in nearest_paths(vectors, rows.vectors[1], 6)] == [0.0] * 6
    assert nearest_paths(vectors, rows.vectors[0], 6)[-1][1] == 0.0


_PROGRAM = """
import os, sys
import numpy as np, pyarrow as pa
from pomona.similarity.nearest import find_nearest
from pomona.similarity.vector_cache import Vectors
count, width = 120_000, 1280
names = [str(i) for i in range(count)]
rows = pa.table({"path": names, "label": names, "content_hash": names, "norm": np.ones(count)})
vectors = Vectors(0, "made-up", width, rows, os.open(sys.argv[1], os.O_RDONLY))
def peak():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) // 1024
before = peak()
find_nearest(vectors, np.ones(width), 10)
print(before, peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="requires /proc/self/status")
def test_memory_stays_below_the_file_size(tmp_path: Path) -> None:
    file = tmp_path / "vectors"
    with file.open("wb") as vectors:
        for seed in range(12):
            np.random.default_rng(seed).random((10_000, 1280), np.float32).tofile(vectors)
    assert file.stat().st_size > 600 * 10**6
    command = [sys.executable, "-c", _PROGRAM, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    before, after = map(int, done.stdout.split())
    assert after - before < 60 + 45 * (
        os.cpu_count() or 1
    )  # MB: one block of 21 MB per thread, twice
