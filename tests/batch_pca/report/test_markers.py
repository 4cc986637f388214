"""Marks: told apart, and seen on both pages."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import batch_pca
from batch_pca.report.markers import COLOURS, mark

STYLE = Path(batch_pca.__file__).with_name("report").joinpath("page", "report.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--(\w+): (#\w{6})", half)) for half in STYLE.split("@media", 2)[:2]
)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_131_labels_of_the_fruit_photographs_have_a_mark_each() -> None:
    marks = [mark(place) for place in range(131)]
    assert len({(one.colour, one.marker) for one in marks}) == 131
    assert len({(one.colour, one.path) for one in marks}) == 131
    # Who cannot tell the colours has the shapes.
    for one, next_ in itertools.pairwise(marks):
        assert one.colour != next_.colour
        assert one.marker != next_.marker


@pytest.mark.parametrize("page", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_lines_and_words_stand_out_as_wcag_asks(page: dict[str, str]) -> None:
    assert {"page", "raised", "ink", "dim", "edge", "mark", "warn"} <= set(page)
    for colour in (*COLOURS, page["edge"], page["mark"]):
        assert contrast(colour, page["page"]) >= 3, colour
    for ground in ("page", "raised", "warn"):
        assert contrast(page["ink"], page[ground]) >= 4.5
    assert contrast(page["dim"], page["page"]) >= 4.5
    assert contrast(page["dim"], page["raised"]) >= 4.5
