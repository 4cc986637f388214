"""Tests for `duplicates` over rows: every pair that scikit-learn finds, and every content that stands there twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity

from pomona.similarity import duplicates
from pomona.similarity.duplicates import PairwiseComparison, find_same_bytes, rows_with_label
from pomona.similarity.vector_cache import Vectors, load_vectors
from support.deltars_lakes import (
    append,
    concatenate,
    create_deltars_lake,
    random_images,
    use_cache_folder,
)
from support.feature_lakes import Images

WIDTH = 24


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_cache_folder(monkeypatch, tmp_path / "cache")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 64)


def opened(folder: Path, rows: Images) -> Vectors:
    """The rows in the order of the lake, each with a content of its own."""
    return load_vectors(create_deltars_lake(folder / "lake", rows), 0)


def pairs(
    vectors: Vectors, at_least: float, label: str | None = None
) -> dict[tuple[int, int], float]:
    """What scikit-learn finds among the rows."""
    places = rows_with_label(vectors, label)
    cosines: NDArray[np.float64] = cosine_similarity(vectors.take(places).astype(np.float64))
    first, second = np.nonzero(np.triu(cosines >= at_least, 1))
    return {
        (int(places[i]), int(places[j])): float(cosines[i, j])
        for i, j in zip(first, second, strict=True)
    }


@pytest.mark.parametrize("at_least", [0.3, 0.7, 0.9])  # nearly all pairs, some, few
@pytest.mark.parametrize("count", [2, 64, 300])
def test_near_pairs_are_those_of_scikit_learn(tmp_path: Path, count: int, at_least: float) -> None:
    vectors = opened(tmp_path, random_images(count, WIDTH))
    oracle = pairs(vectors, at_least)
    found = PairwiseComparison(vectors, rows_with_label(vectors, None), at_least).run(10**6)
    told = dict(
        zip(
            zip(found.first.tolist(), found.second.tolist(), strict=True),
            found.cosines,
            strict=True,
        )
    )
    assert told.keys() == oracle.keys()
    assert found.total == len(oracle)
    assert told == pytest.approx(oracle, abs=1e-11)
    assert list(found.cosines) == sorted(found.cosines, reverse=True)


def test_a_threshold_that_float32_cannot_tell_is_kept_to(tmp_path: Path) -> None:
    base = random_images(1, WIDTH).vectors[0] + 1
    turned = base + np.arange(200)[:, np.newaxis] * np.linspace(0, 2e-5, WIDTH)
    rows = Images([f"file:/{i:03}" for i in range(200)], ["a"] * 200, turned.astype("f4"))
    vectors = opened(tmp_path, rows)
    cosines = np.sort(list(pairs(vectors, 0.5).values()))
    gaps = np.diff(cosines[5000:15000])
    at = 5000 + int(np.argmax(gaps))
    at_least = float(cosines[at] + cosines[at + 1]) / 2
    assert gaps.max() < np.finfo(np.float32).eps
    found = PairwiseComparison(vectors, rows_with_label(vectors, None), at_least).run(10)
    assert found.total == len(pairs(vectors, at_least))


def test_only_the_nearest_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    vectors = opened(tmp_path, random_images(300, WIDTH))
    oracle = pairs(vectors, 0.5)
    found = PairwiseComparison(vectors, rows_with_label(vectors, None), 0.5).run(7)
    assert found.total == len(oracle) > 1000
    np.testing.assert_allclose(found.cosines, sorted(oracle.values(), reverse=True)[:7], atol=1e-11)


def test_one_label_can_be_compared_alone(tmp_path: Path) -> None:
    vectors = opened(tmp_path, random_images(300, WIDTH))
    work = PairwiseComparison(vectors, rows_with_label(vectors, "label 3"), 0.5)
    assert work.rows == vectors.rows["label"].to_pylist().count("label 3")
    found = work.run(10**6)
    assert set(zip(found.first, found.second, strict=True)) == set(pairs(vectors, 0.5, "label 3"))
    assert not PairwiseComparison(vectors, rows_with_label(vectors, "nonsense"), 0.5).run(10).total


def test_the_same_bytes_are_no_near_pair(tmp_path: Path) -> None:
    rows = random_images(4, WIDTH)
    rows.vectors[:] = rows.vectors[0]
    lake = create_deltars_lake(tmp_path / "lake")
    append(lake, rows, ["a", "b", "a", "a"])
    vectors = load_vectors(lake, 0)
    found = PairwiseComparison(vectors, rows_with_label(vectors, None), 1.0).run(10)
    hashes = vectors.rows["content_hash"].to_pylist()
    assert found.total == 3
    assert all(hashes[i] != hashes[j] for i, j in zip(found.first, found.second, strict=True))


def test_contents_that_stand_there_twice(tmp_path: Path) -> None:
    rows = concatenate(random_images(5, WIDTH), random_images(2, WIDTH, 1))
    lake = create_deltars_lake(tmp_path / "lake")
    append(lake, rows, ["a", "b", "c", "b", "d", "a", "b"])
    found = {group.content_hash: group.images for group in find_same_bytes(lake, 0)}
    images = list(zip(rows.paths, rows.labels, strict=True))
    assert found == {
        "a": sorted([images[0], images[5]]),
        "b": sorted([images[1], images[3], images[6]]),
    }
    assert (
        find_same_bytes(create_deltars_lake(tmp_path / "other", random_images(3, WIDTH)), 0) == []
    )


def test_how_long_it_takes_is_measured(tmp_path: Path) -> None:
    vectors = opened(tmp_path, random_images(640, WIDTH))
    work = PairwiseComparison(vectors, rows_with_label(vectors, None), 0.99)
    done: list[tuple[int, int]] = []
    work.run(10, lambda *step: done.append(step))
    assert done[-1] == (work.steps, work.steps) == (55, 55)
    assert 0 < work.seconds() < 60
