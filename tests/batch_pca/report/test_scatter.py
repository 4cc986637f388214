"""The scatter plot as PNG: read back with Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from batch_pca.report.scatter import scatter

pytestmark = pytest.mark.slow  # matplotlib draws for seconds

RATIO = np.array([0.6, 0.4])


def pixels(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert picture.format == "PNG"
    return picture


def cloud(count: int, labels: int, columns: int) -> bytes:
    codes = np.arange(count, dtype=np.uint32) % labels
    scores = np.random.default_rng(0).normal(size=(count, columns))
    return scatter([f"label {number}" for number in range(labels)], codes, scores, RATIO)


@pytest.mark.parametrize("columns", [1, 2, 8])
@pytest.mark.parametrize("labels", [1, 24, 131, 300])
def test_scatter_plots_are_of_a_size_that_can_be_read(columns: int, labels: int) -> None:
    picture = pixels(cloud(2 * labels, labels, columns))
    assert picture.width == 1300
    assert 390 <= picture.height <= 5200


def test_the_points_are_drawn_in_the_colour_of_their_label() -> None:
    above_the_legend = pixels(cloud(60, 2, 2)).convert("RGB").crop((100, 20, 1280, 780))
    red, _, blue = (np.asarray(band, dtype=int) for band in above_the_legend.split())
    assert (blue - red > 80).sum() > 500  # the first colour
    assert (red - blue > 80).sum() > 500  # the second
