"""Tests for `batch_pca.report.outliers`, compared with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from batch_pca.report.outliers import MAX_LISTED, NEIGHBORS, NotableImages, find_notable_images


def test_unusual_images_are_those_with_most_distant_neighbors() -> None:
    scores = np.random.default_rng(0).normal(size=(2500, 8)) + 50
    paths = [f"file:/{number}.jpg" for number in range(len(scores))]
    found = find_notable_images(paths, ["Fig"] * len(paths), scores).unusual
    distances, _ = NearestNeighbors(n_neighbors=NEIGHBORS).fit(scores).kneighbors()
    order = np.argsort(-distances.mean(axis=1))[:MAX_LISTED]
    assert [image.path for image in found] == [paths[i] for i in order]
    assert found[0].reason == f"distance {distances.mean(axis=1).max():.4g}"


def test_image_among_images_of_another_label_is_found() -> None:
    scores = np.random.default_rng(0).normal(size=(60, 2))
    scores[:30] += 100
    labels = ["Fig"] * 30 + ["Kiwi"] * 30
    labels[3] = "Kiwi"
    paths = [f"file:/{number}.jpg" for number in range(60)]
    (image,) = find_notable_images(paths, labels, scores).disagreeing
    assert (image.path, image.label, image.reason) == (paths[3], "Kiwi", "5 of 5 neighbors: Fig")


@pytest.mark.slow
def test_few_and_many_and_equal_images_are_accepted() -> None:
    assert find_notable_images(["a"] * 5, ["x"] * 5, np.zeros((5, 1))) == NotableImages()
    assert find_notable_images([], [], np.zeros((0, 1))) == NotableImages()
    many = find_notable_images(["a"] * 10_001, ["x"] * 10_001, np.zeros((10_001, 1)))
    assert len(many.unusual) == MAX_LISTED
    assert many.disagreeing == ()
