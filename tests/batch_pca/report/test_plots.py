"""The plots of a refit: read back with Pillow and an XML parser."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from batch_pca.pca.fit import FitOptions, fit
from batch_pca.pca.moments import Moments
from batch_pca.report.plots import Movement, Plot, drift, variance

pytestmark = pytest.mark.slow  # matplotlib draws for seconds


def pixels(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert picture.format == "PNG"
    return picture


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
