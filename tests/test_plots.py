"""The plots of a refit: read back with Pillow and an XML parser."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from batch_pca.fit import FitOptions, fit
from batch_pca.moments import Moments
from batch_pca.plots import Movement, Plot, drift, scatter, variance

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


def words(plot: Plot) -> list[str]:
    """The texts of a plot; it must be one SVG element, and name nothing but what is in it."""
    root = ET.fromstring(plot.svg)
    assert root.tag.endswith("svg")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.endswith("href"):
                assert value.removeprefix("#") in ids
    return ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]


def test_variance_and_drift_are_png_and_svg_of_the_same() -> None:
    rows = np.random.default_rng(0).normal(size=(90, 70))
    fitted = fit(Moments.of(rows, rows[0]), FitOptions(components=9))
    moves = [Movement("v3", 1.5, 0.1, 0.3, False), Movement("v8", 21.0, 0.9, 1.2, True)]
    for plot, told in (
        (variance(fitted), ["kept: 9", "90%:", "each component (scree)"]),
        (drift(moves), ["v3", "v8", "a limit was passed", "label that moved most"]),
    ):
        assert pixels(plot.png).width == 1300
        said = words(plot)
        assert all(any(text in one for one in said) for text in told), said


def test_ids_of_two_plots_in_one_page_do_not_meet() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 5))
    one = variance(fit(Moments.of(rows, rows[0]), FitOptions(components=2))).svg
    other = drift([Movement("v3", 1.5, 0.1, 0.3, False)]).svg
    ids = [
        {element.get("id") for element in ET.fromstring(svg).iter() if element.get("id")}
        for svg in (one, other)
    ]
    assert all(ids)
    assert not ids[0] & ids[1]
