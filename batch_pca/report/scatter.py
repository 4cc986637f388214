"""The scatter plot of a refit as a PNG file, for documents and for browsers without JavaScript."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import BboxBase
from numpy.typing import NDArray

from batch_pca.report.markers import MarkerStyle, label_styles
from batch_pca.report.plots import apply_theme, save_figure
from streaming.sanitize import escape_text

_LEGEND_COLUMNS = 5
_MAX_NAMES = 132  # the marker styles repeat after that


def plot_scatter(
    labels: Sequence[str],
    codes: NDArray[np.uint32],
    points: NDArray[np.floating],
    ratio: NDArray[np.float64],
    label_order: Sequence[str] = (),
) -> bytes:
    """Plot points by label on two components, and return the PNG file.

    The name of a label is at the median of its points. With a single component, each label gets a strip of its own.

    Parameters
    ----------
    labels : sequence of str
        Distinct labels.
    codes : ndarray of shape (m,)
        Index of each point's label in `labels`.
    points : ndarray of shape (m, c)
        Scores; the first two columns are drawn.
    ratio : ndarray of shape (r,)
        Explained variance ratios.
    label_order : sequence of str
        Labels in the order of their first appearance, which determines the marker styles.
    """
    strips = points.shape[1] == 1
    # Of more strips, every second, third, … is named: drawing thousands of names takes most of the time.
    step = math.ceil(len(labels) / _MAX_NAMES) if strips else 1
    names = _drawable(labels)[::step][:_MAX_NAMES]
    height = 1.2 + 0.21 * len(names) if strips else 6.8 + 0.21 * len(names) / _LEGEND_COLUMNS
    figure = Figure(figsize=(10, float(np.clip(height, 3, 40))), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    random = np.random.default_rng(0)
    order = random.permutation(len(codes))  # so that no label covers all others
    y = codes + random.uniform(-0.3, 0.3, len(codes)) if strips else points[:, 1]
    size = float(np.clip(25_000 / len(codes), 4, 36))
    styles = label_styles(labels, label_order)
    colors = np.array([style.color for style in styles])
    markers = np.array([style.marker for style in styles])
    for marker in np.unique(markers):
        chosen = order[markers[codes[order]] == marker]
        axes.scatter(
            points[chosen, 0],
            y[chosen],
            size,
            colors[codes[chosen]],
            marker=marker,
            alpha=0.75,
            lw=0,
        )
    axes.set_xlabel(f"component 1, {ratio[0]:.1%} of the variance")
    if strips:
        axes.set_yticks(range(0, len(labels), step), names, parse_math=False, fontsize=8)
        axes.set_ylim(len(labels) - 0.5, -0.5)
    else:
        axes.set_ylabel(f"component 2, {ratio[1]:.1%} of the variance")
        axes.set_aspect("equal", adjustable="datalim")
        _add_legend(figure, names, styles)
        _add_names(figure, axes, names, codes, points)
    return save_figure(apply_theme(figure), "png")


def _drawable(labels: Sequence[str]) -> list[str]:
    """Return the labels as the plot shows them: shortened, and numbered if the font lacks a character."""
    font = get_font(findfont(FontProperties()))
    escaped = [escape_text(label) for label in labels]
    short = [label if len(label) <= 26 else label[:25] + "…" for label in escaped]
    drawable = [all(font.get_char_index(ord(letter)) for letter in name) for name in short]
    return [short[i] if drawable[i] else f"label {i + 1}" for i in range(len(labels))]


def _add_names(
    figure: Figure,
    axes: Axes,
    names: Sequence[str],
    codes: NDArray[np.uint32],
    points: NDArray[np.floating],
) -> None:
    """Draw the name of each label at the median of its points, unless it would cover that of a larger label."""
    figure.draw_without_rendering()  # the layout determines the extent of the names
    counts = np.bincount(codes, minlength=len(names))[: len(names)]
    drawn: list[BboxBase] = []
    for code in np.argsort(-counts, kind="stable"):
        if not counts[code]:
            continue
        x, y = np.median(points[codes == code, :2], axis=0)
        name = axes.text(
            x,
            y,
            names[code],
            fontsize=8,
            ha="center",
            va="center",
            parse_math=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white", alpha=0.85)],
        )
        extent = name.get_window_extent()
        if any(extent.overlaps(other) for other in drawn):
            name.remove()
        else:
            drawn.append(extent)


def _add_legend(figure: Figure, names: Sequence[str], styles: Sequence[MarkerStyle]) -> None:
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linestyle="", markersize=6)
        for style in styles[: len(names)]
    ]
    legend = figure.legend(
        handles, names, loc="outside lower center", ncols=_LEGEND_COLUMNS, fontsize=8
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # "$" in a label does not start a formula
