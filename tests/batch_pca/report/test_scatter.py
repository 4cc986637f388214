"""Tests for `batch_pca.report.scatter`: the PNG file read with Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from batch_pca.report.scatter import plot_scatter

pytestmark = pytest.mark.slow  # matplotlib takes seconds

RATIO = np.array([0.6, 0.4])


def open_png(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return image


def random_plot(count: int, labels: int, columns: int) -> bytes:
    codes = np.arange(count, dtype=np.uint32) % labels
    scores = np.random.default_rng(0).normal(size=(count, columns))
    return plot_scatter([f"label {number}" for number in range(labels)], codes, scores, RATIO)


@pytest.mark.parametrize("columns", [1, 2, 8])
@pytest.mark.parametrize("labels", [1, 24, 131, 300])
def test_plot_has_readable_size(columns: int, labels: int) -> None:
    image = open_png(random_plot(2 * labels, labels, columns))
    assert image.width == 1300
    assert 390 <= image.height <= 5200


@pytest.mark.parametrize(("labels", "named"), [(132, 132), (133, 67), (1500, 125)])
def test_number_of_named_strips_is_limited(
    labels: int, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(
        "batch_pca.report.scatter.save_figure", lambda figure, _: figures.append(figure)
    )
    random_plot(labels, labels, 1)
    (axes,) = figures[0].axes
    step = -(-labels // 132)
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        f"label {number}" for number in range(0, labels, step)
    ]
    assert len(axes.get_yticks()) == named
    assert axes.get_ylim() == (labels - 0.5, -0.5)


def test_points_are_drawn_in_the_color_of_the_given_order() -> None:
    codes = np.zeros(60, dtype=np.uint32)
    scores = np.random.default_rng(0).normal(size=(60, 2))
    plot = open_png(plot_scatter(["Kiwi"], codes, scores, RATIO, ["Fig", "Kiwi"])).convert("RGB")
    red, _, blue = (np.asarray(band, dtype=int) for band in plot.split())
    assert (red - blue > 80).sum() > 500  # the second color, also in the legend
    assert (blue - red > 80).sum() == 0


def test_points_are_drawn_in_color_of_their_label() -> None:
    above_the_legend = open_png(random_plot(60, 2, 2)).convert("RGB").crop((100, 20, 1280, 780))
    red, _, blue = (np.asarray(band, dtype=int) for band in above_the_legend.split())
    assert (blue - red > 80).sum() > 500  # the first color
    assert (red - blue > 80).sum() > 500  # the second


def dark_pixels(points: list[tuple[float, float]], names: list[str]) -> int:
    """Return the number of black pixels inside of the axes: those of the names."""
    codes = np.repeat(np.arange(len(points), dtype=np.uint32), 20)
    cloud = np.random.default_rng(0).normal(size=(20, 2))
    scores = np.array(points)[codes] + np.tile(cloud, (len(points), 1))
    image = open_png(plot_scatter(names, codes, scores, RATIO)).convert("L")
    return int((np.asarray(image.crop((110, 20, 1280, 780))) < 60).sum())


def test_names_are_drawn_at_the_labels_unless_they_overlap() -> None:
    none = dark_pixels([(0, 0), (30, 0)], ["", ""])
    apart = dark_pixels([(0, 0), (30, 0)], ["Kiwi", "Kiwi"])
    above_each_other = dark_pixels([(0, 0), (0, 0)], ["Kiwi", "Kiwi"])
    assert none < 10
    assert apart == pytest.approx(2 * above_each_other, rel=0.2)
    assert above_each_other > 50
