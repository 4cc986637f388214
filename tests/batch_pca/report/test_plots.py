"""Tests for `batch_pca.report.plots`: the files read with Pillow and an XML parser."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from batch_pca.pca.fit import FitOptions, fit
from batch_pca.pca.moments import Moments
from batch_pca.report.markers import COLORS
from batch_pca.report.plots import DriftPoint, Plot, plot_drift, plot_variance

pytestmark = pytest.mark.slow  # matplotlib takes seconds


def open_png(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return image


def svg_texts(plot: Plot) -> list[str]:
    """Return the texts of a plot; assert that its panels are SVG elements with valid references."""
    texts = []
    for svg in plot.svgs:
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg")
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(ids) == len(set(ids))
        for element in root.iter():
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.removeprefix("#") in ids
        texts += ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("text")]
    return texts


def test_variance_and_drift_are_drawn_as_png_and_svg() -> None:
    rows = np.random.default_rng(0).normal(size=(90, 70))
    fitted = fit(Moments.from_rows(rows, rows[0]), FitOptions(components=9))
    history = [
        DriftPoint("v3", 1.5, 0.1, 0.3),
        DriftPoint("v8", 21.0, 0.9, 1.2, frozenset({"angle", "label"})),
    ]
    for plot, expected in (
        (plot_variance(fitted), ["kept: 9", "90%:", "explained variance ratio (scree plot)"]),
        (plot_drift(history), ["v3", "v8", "threshold exceeded", "label with the largest shift"]),
    ):
        assert open_png(plot.png).width == 1300
        texts = svg_texts(plot)
        assert all(any(part in text for text in texts) for part in expected), texts


@pytest.mark.parametrize(
    ("exceeded", "marks", "legends"),
    [
        ((), 0, 0),
        (("angle",), 1, 1),
        (("shift",), 1, 1),
        (("label",), 1, 1),
        (("shift", "label"), 2, 1),
        (("angle", "label"), 2, 2),
    ],
)
def test_only_exceeded_thresholds_are_marked(
    exceeded: tuple[str, ...], marks: int, legends: int
) -> None:
    points = [DriftPoint("v3", 1.5, 0.1, 0.3), DriftPoint("v8", 21, 0.9, 1.2, frozenset(exceeded))]
    plot = plot_drift(points)
    assert svg_texts(plot).count("threshold exceeded") == legends
    # Nothing else is drawn in this color; a legend contains one mark.
    assert len(re.findall(rf"<use [^>]*fill: {COLORS[3]}", "".join(plot.svgs))) == marks + legends


def test_ids_of_all_panels_are_distinct() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 5))
    variance = plot_variance(fit(Moments.from_rows(rows, rows[0]), FitOptions(components=2)))
    drift = plot_drift([DriftPoint("v3", 1.5, 0.1, 0.3)])
    ids = [
        element.get("id")
        for svg in (*variance.svgs, *drift.svgs)
        for element in ET.fromstring(svg).iter()
        if element.get("id")
    ]
    assert len(ids) == len(set(ids)) > 4
