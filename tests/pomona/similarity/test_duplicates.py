"""Tests for `pomona.similarity.duplicates`: near-duplicate pairs compared with scikit-learn, and identical bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pomona
from pomona.similarity import duplicates
from pomona.similarity.duplicates import PairwiseComparison, find_same_bytes, rows_with_label
from pomona.similarity.vector_cache import Vectors, load_vectors
from streaming.errors import UsageError
from support.lakes.deltars_lakes import (
    append,
    concatenate,
    create_deltars_lake,
    random_images,
    use_cache_folder,
)
from support.lakes.feature_lakes import Images

WIDTH = 24


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_cache_folder(monkeypatch, tmp_path / "cache")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 64)


def cached_vectors(folder: Path, rows: Images) -> Vectors:
    """Create a lake of rows with different content hashes, and open its vector cache."""
    return load_vectors(create_deltars_lake(folder / "lake", rows), 0)


def sklearn_pairs(
    vectors: Vectors, at_least: float, label: str | None = None
) -> dict[tuple[int, int], float]:
    """Compute the near-duplicate pairs and their cosines with scikit-learn."""
    indices = rows_with_label(vectors, label)
    from sklearn.metrics.pairwise import cosine_similarity

    cosines: NDArray[np.float64] = cosine_similarity(vectors.take(indices).astype(np.float64))
    first, second = np.nonzero(np.triu(cosines >= at_least, 1))
    return {
        (int(indices[i]), int(indices[j])): float(cosines[i, j])
        for i, j in zip(first, second, strict=True)
    }


@pytest.mark.parametrize("at_least", [0.3, 0.7, 0.9])  # nearly all pairs, some pairs, few pairs
@pytest.mark.parametrize("count", [2, 64, 300])
def test_near_pairs_match_sklearn(tmp_path: Path, count: int, at_least: float) -> None:
    vectors = cached_vectors(tmp_path, random_images(count, WIDTH))
    expected = sklearn_pairs(vectors, at_least)
    found = PairwiseComparison(vectors, rows_with_label(vectors, None), at_least).run(10**6)
    cosines = dict(
        zip(
            zip(found.first.tolist(), found.second.tolist(), strict=True),
            found.cosines,
            strict=True,
        )
    )
    assert cosines.keys() == expected.keys()
    assert found.total == len(expected)
    assert cosines == pytest.approx(expected, abs=1e-11)
    assert list(found.cosines) == sorted(found.cosines, reverse=True)


def test_threshold_is_exact_below_float32_precision(tmp_path: Path) -> None:
    base = random_images(1, WIDTH).vectors[0] + 1
    vectors_near_base = base + np.arange(200)[:, np.newaxis] * np.linspace(0, 2e-5, WIDTH)
    rows = Images(
        [f"file:/{i:03}" for i in range(200)], ["a"] * 200, vectors_near_base.astype("f4")
    )
    vectors = cached_vectors(tmp_path, rows)
    cosines = np.sort(list(sklearn_pairs(vectors, 0.5).values()))
    gaps = np.diff(cosines[5000:15000])
    at = 5000 + int(np.argmax(gaps))
    at_least = float(cosines[at] + cosines[at + 1]) / 2
    assert gaps.max() < np.finfo(np.float32).eps
    found = PairwiseComparison(vectors, rows_with_label(vectors, None), at_least).run(10)
    assert found.total == len(sklearn_pairs(vectors, at_least))


def test_run_returns_top_pairs_and_counts_all(tmp_path: Path) -> None:
    vectors = cached_vectors(tmp_path, random_images(300, WIDTH))
    expected = sklearn_pairs(vectors, 0.5)
    found = PairwiseComparison(vectors, rows_with_label(vectors, None), 0.5).run(7)
    assert found.total == len(expected) > 1000
    np.testing.assert_allclose(
        found.cosines, sorted(expected.values(), reverse=True)[:7], atol=1e-11
    )


def test_label_restricts_the_comparison(tmp_path: Path) -> None:
    vectors = cached_vectors(tmp_path, random_images(300, WIDTH))
    comparison = PairwiseComparison(vectors, rows_with_label(vectors, "label 3"), 0.5)
    assert comparison.rows == vectors.rows["label"].to_pylist().count("label 3")
    found = comparison.run(10**6)
    assert set(zip(found.first, found.second, strict=True)) == set(
        sklearn_pairs(vectors, 0.5, "label 3")
    )
    with pytest.raises(UsageError, match="--label Durian: no such label in version 0"):
        rows_with_label(vectors, "Durian")


def test_identical_bytes_are_not_near_pairs(tmp_path: Path) -> None:
    rows = random_images(4, WIDTH)
    rows.vectors[:] = rows.vectors[0]
    lake = create_deltars_lake(tmp_path / "lake")
    append(lake, rows, ["a", "b", "a", "a"])
    vectors = load_vectors(lake, 0)
    found = PairwiseComparison(vectors, rows_with_label(vectors, None), 1.0).run(10)
    hashes = vectors.rows["content_hash"].to_pylist()
    assert found.total == 3
    assert all(hashes[i] != hashes[j] for i, j in zip(found.first, found.second, strict=True))


def test_find_same_bytes_groups_images_by_content_hash(tmp_path: Path) -> None:
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


def test_progress_and_duration_estimate(tmp_path: Path) -> None:
    vectors = cached_vectors(tmp_path, random_images(640, WIDTH))
    comparison = PairwiseComparison(vectors, rows_with_label(vectors, None), 0.99)
    progress: list[tuple[int, int]] = []
    comparison.run(10, lambda *step: progress.append(step))
    assert progress[-1] == (comparison.steps, comparison.steps) == (55, 55)
    assert 0 < comparison.estimate_seconds() < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "--top 0: give 1 or more"),
        ({"at_least": 1.5}, r"--at-least 1\.5: give a cosine above 0 and up to 1"),
    ],
)
def test_python_interface_rejects_options_out_of_range(
    options: dict[str, float], message: str, tmp_path: Path
) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(3, WIDTH))
    with pytest.raises(UsageError, match=message):
        pomona.open_lake(lake.root).duplicates(**options)
