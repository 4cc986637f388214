"""Tests for `batch_pca.report.markers`: distinct styles, and contrast in light and dark mode."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import batch_pca
from batch_pca.report.markers import COLORS, MarkerStyle, extend_order, label_styles, marker_style

STYLE = Path(batch_pca.__file__).with_name("report").joinpath("page", "report.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--(\w+): (#\w{6})", half)) for half in STYLE.split("@media", 2)[:2]
)


def luminance(color: str) -> float:
    """Return the relative luminance as defined by WCAG 2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_131_labels_have_distinct_marker_styles() -> None:
    styles = [marker_style(index) for index in range(131)]
    assert len({(style.color, style.marker) for style in styles}) == 131
    assert len({(style.color, style.path) for style in styles}) == 131
    # Readers who cannot distinguish the colors have the shapes.
    for style, next_style in itertools.pairwise(styles):
        assert style.color != next_style.color
        assert style.marker != next_style.marker


def test_label_keeps_style_if_other_labels_come_or_go() -> None:
    order: list[str] = []
    seen: dict[str, MarkerStyle] = {}
    for labels in (["Fig", "Kiwi"], ["Apple", "Fig", "Kiwi"], ["Kiwi"], ["Banana", "Fig", "Kiwi"]):
        order = extend_order(order, labels)
        for label, style in zip(labels, label_styles(labels, order), strict=True):
            assert seen.setdefault(label, style) == style
    assert len(set(seen.values())) == 4
    assert order == ["Fig", "Kiwi", "Apple", "Banana"]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_of_colors_meets_wcag(theme: dict[str, str]) -> None:
    assert {"background", "surface", "text", "muted", "outline", "accent", "warning"} <= set(theme)
    for color in (*COLORS, theme["outline"], theme["accent"]):
        assert contrast(color, theme["background"]) >= 3, color
    for background in ("background", "surface", "warning"):
        assert contrast(theme["text"], theme[background]) >= 4.5
    assert contrast(theme["muted"], theme["background"]) >= 4.5
    assert contrast(theme["muted"], theme["surface"]) >= 4.5
