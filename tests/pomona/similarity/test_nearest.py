"""Tests for the search: what scikit-learn's NearestNeighbors finds, exactly, whatever blocks and rounding do."""

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
from support.deltars_lakes import (
    concatenate,
    create_deltars_lake,
    nearest_neighbors,
    random_images,
    use_cache_folder,
)
from support.feature_lakes import Images

WIDTH = 40
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_cache_folder(monkeypatch, tmp_path / "cache")


def opened(folder: Path, rows: Images) -> Vectors:
    return load_vectors(create_deltars_lake(folder / "lake", rows), 0)


def found(vectors: Vectors, asked: np.ndarray, top: int) -> list[tuple[str, float]]:
    told = find_nearest(vectors, asked.astype(np.float64), top)
    paths = vectors.rows["path"].take(pa.array(told.places)).to_pylist()
    return list(zip(paths, told.cosines.tolist(), strict=True))


def same(ours: list[tuple[str, float]], oracle: list[tuple[str, float]]) -> None:
    assert [path for path, _ in ours] == [path for path, _ in oracle]
    np.testing.assert_allclose([c for _, c in ours], [c for _, c in oracle], atol=1e-12, rtol=0)


@pytest.mark.parametrize("count", [1, 7, BLOCK_ROWS, 3 * BLOCK_ROWS + 100])
def test_it_finds_what_scikit_learn_finds(tmp_path: Path, count: int) -> None:
    rows = random_images(count, WIDTH)
    vectors = opened(tmp_path, rows)
    for asked in (rows.vectors[count // 2], random_images(1, WIDTH, 5).vectors[0]):
        top = min(count, 25)
        same(found(vectors, asked, top), nearest_neighbors(rows, asked, top))


def test_it_tells_apart_what_float32_cannot(tmp_path: Path) -> None:
    far = random_images(BLOCK_ROWS, WIDTH)
    asked = random_images(1, WIDTH, 9).vectors[0] + 1
    steps = (asked + np.arange(300)[::-1, np.newaxis] * np.linspace(0, 3e-6, WIDTH)).astype("f4")
    close = Images([f"file:/close/{i:03}" for i in range(300)], ["close"] * 300, steps)
    rows = concatenate(close, far)
    vectors = opened(tmp_path, rows)
    told = found(vectors, asked, 40)
    oracle = dict(nearest_neighbors(rows, asked, 300))
    exact = [oracle[path] for path, _ in told]
    assert exact == pytest.approx(sorted(oracle.values(), reverse=True)[:40], abs=1e-12)
    narrow = rows.vectors / np.linalg.norm(rows.vectors, axis=1, keepdims=True)
    guess = narrow @ (asked / np.linalg.norm(asked))
    assert set(np.argsort(-guess, kind="stable")[:40]) != set(range(260, 300))  # it matters


def test_equals_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    rows = random_images(50, WIDTH)
    rows.vectors[[3, 40, 20, 7]] = rows.vectors[3] * np.array([[1], [2], [0.5], [3]], "f4")
    backwards = Images(rows.paths[::-1], rows.labels[::-1], rows.vectors[::-1])
    told = found(opened(tmp_path, backwards), rows.vectors[3], 3)
    assert [path for path, _ in told] == [rows.paths[i] for i in (3, 7, 20)]
    assert {cosine for _, cosine in told} == {1.0}


def test_a_row_can_be_left_out(tmp_path: Path) -> None:
    rows = random_images(5, WIDTH)
    vectors = opened(tmp_path, rows)
    place = vectors.rows["path"].to_pylist().index(rows.paths[2])
    for top in (2, 50):
        told = find_nearest(vectors, rows.vectors[2].astype(float), top, place)
        assert place not in told.places
        assert len(told.places) == min(top, 4)


def test_vectors_of_zeros_are_like_nothing(tmp_path: Path) -> None:
    rows = random_images(6, WIDTH)
    rows.vectors[[1, 2]] = 0
    vectors = opened(tmp_path, rows)
    assert [cosine for _, cosine in found(vectors, rows.vectors[1], 6)] == [0.0] * 6
    assert found(vectors, rows.vectors[0], 6)[-1][1] == 0.0


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
    told = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(told["VmHWM"].split()[0]) // 1024
before = peak()
find_nearest(vectors, np.ones(width), 10)
print(before, peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells no peak here")
def test_a_file_larger_than_the_memory_that_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "vectors"
    with file.open("wb") as vectors:
        for seed in range(12):
            np.random.default_rng(seed).random((10_000, 1280), np.float32).tofile(vectors)
    assert file.stat().st_size > 600 * 10**6
    command = [sys.executable, "-c", _PROGRAM, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    before, after = map(int, done.stdout.split())
    assert after - before < 60 + 45 * (os.cpu_count() or 1)  # MB: a block a thread, of 21 MB
