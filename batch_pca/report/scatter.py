"""The scatter plot of a refit as a PNG file, for documents and for browsers without JavaScript."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from batch_pca.report.markers import mark
from batch_pca.report.plots import saved, styled
from streaming.sanitize import escape_text

_ACROSS = 5  # columns of the legend
_MOST_MARKED = 132  # then marks begin again


def scatter(
    labels: Sequence[str],
    codes: NDArray[np.uint32],
    points: NDArray[np.floating],
    ratio: NDArray[np.float64],
) -> bytes:
    """Plot points by label, as PNG: two components, or where there is one, a strip for each label.

    Parameters
    ----------
    labels : sequence of str
        Each once.
    codes : ndarray of shape (m,)
        Place of each point's label among `labels`.
    points : ndarray of shape (m, c)
        Scores; the first two columns are drawn.
    ratio : ndarray of shape (r,)
        Shares of the variance.
    """
    strips = points.shape[1] == 1
    names = _drawable(labels)[: len(labels) if strips else _MOST_MARKED]
    height = 1.2 + 0.21 * len(names) if strips else 6.8 + 0.21 * len(names) / _ACROSS
    figure = Figure(figsize=(10, float(np.clip(height, 3, 40))), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    random = np.random.default_rng(0)
    order = random.permutation(len(codes))  # so that no label lies on top of all others
    y = codes + random.uniform(-0.3, 0.3, len(codes)) if strips else points[:, 1]
    size = float(np.clip(25_000 / len(codes), 4, 36))
    marks = [mark(place) for place in range(len(labels))]
    colours = np.array([m.colour for m in marks])
    markers = np.array([m.marker for m in marks])
    for marker in np.unique(markers):
        at = order[markers[codes[order]] == marker]
        axes.scatter(
            points[at, 0], y[at], size, colours[codes[at]], marker=marker, alpha=0.75, lw=0
        )
    axes.set_xlabel(f"component 1, {ratio[0]:.1%} of the variance")
    if strips:
        axes.set_yticks(range(len(names)), names, parse_math=False, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
    else:
        axes.set_ylabel(f"component 2, {ratio[1]:.1%} of the variance")
        axes.set_aspect("equal", adjustable="datalim")
        _legend(figure, names)
    return saved(styled(figure), "png")


def _drawable(labels: Sequence[str]) -> list[str]:
    """Return the labels as the plots write them: by number where their font lacks a letter."""
    font = get_font(findfont(FontProperties()))
    shown = [escape_text(label) for label in labels]
    short = [label if len(label) <= 26 else label[:25] + "…" for label in shown]
    drawn = [all(font.get_char_index(ord(letter)) for letter in name) for name in short]
    return [short[i] if drawn[i] else f"label {i + 1}" for i in range(len(labels))]


def _legend(figure: Figure, names: Sequence[str]) -> None:
    marks = [mark(place) for place in range(len(names))]
    handles = [
        Line2D([], [], color=m.colour, marker=m.marker, linestyle="", markersize=6) for m in marks
    ]
    below = figure.legend(handles, names, loc="outside lower center", ncols=_ACROSS, fontsize=8)
    for text in below.get_texts():
        text.set_parse_math(False)  # a "$" in a label is a dollar
