"""Plots of a refit, drawn by Matplotlib: as PNG files, and as SVG for light and dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from batch_pca.pca.fit import Reduction
from batch_pca.report.markers import COLORS
from streaming.counts import format_count

#: Explained variance ratios whose number of components is marked in the plot and listed in the report.
TARGET_RATIOS = (0.90, 0.95, 0.99)
# Colors that the HTML report replaces by CSS variables. Nothing else is drawn in them.
_TEXT, _MUTED, _GRID, _BACKGROUND = "#1d2125", "#59626a", "#d9dee2", "#fefefe"
_CSS_VARIABLES = {
    _TEXT: "--text",
    _MUTED: "--muted",
    _GRID: "--grid",
    _BACKGROUND: "--background",
}


@dataclass(frozen=True)
class Plot:
    """A plot as PNG file, and its panels as ``<svg>`` elements that use the CSS variables of the report."""

    png: bytes
    svgs: tuple[str, ...]


@dataclass(frozen=True)
class DriftPoint:
    """Drift of one refit since its baseline.

    Attributes
    ----------
    name : str
        Label on the x axis.
    angle : float
        Angle between the correlation matrices in degrees.
    shift, label_shift : float
        Shift of the mean, and the largest shift of a label's mean, in standard deviations.
    exceeded : frozenset of str
        Names of the thresholds that were exceeded: ``angle``, ``shift``, ``label``.
    """

    name: str
    angle: float
    shift: float
    label_shift: float
    exceeded: frozenset[str] = frozenset()


def plot_variance(reduction: Reduction) -> Plot:
    """Plot the explained variance ratio of each component (scree plot) and the cumulative ratio."""
    ratio, cumulative = reduction.explained_variance_ratio, reduction.cumulative

    def draw(axes: Axes, title: str, values: NDArray[np.float64]) -> None:
        """Draw a value of each component as a line."""
        axes.set_title(title, fontsize=11)
        dots = "." if len(ratio) <= 60 else ""
        axes.plot(np.arange(1, len(ratio) + 1), values, f"{dots}-", color=COLORS[0], markersize=5)
        axes.set(xlabel="component", xlim=(0, len(ratio) + 1), ylim=(0, 1.06 * values.max()))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))

    def draw_ratio(axes: Axes) -> None:
        """Draw the explained variance ratio of each component."""
        draw(axes, "explained variance ratio (scree plot)", ratio)

    def draw_cumulative(axes: Axes) -> None:
        """Draw the cumulative ratio, the components kept, and those for `TARGET_RATIOS`."""
        draw(axes, "cumulative explained variance ratio", cumulative)
        axes.axvline(reduction.k, color=_MUTED, lw=1, label=f"kept: {reduction.k:,}")
        for target, color, shape in zip(TARGET_RATIOS, COLORS[1:4], "osD", strict=True):
            axes.axhline(target, color=color, lw=0.8, ls="--")
            k = reduction.components_for(target)
            label = f"{target:.0%}: {k:,}"
            axes.plot(k, cumulative[k - 1], shape, color=color, label=label, linestyle="")
        limit = f"at most {len(ratio):,}: only {format_count(reduction.count, 'row')}"
        _add_legend(axes, "lower right", limit if reduction.limited_by_rows else None)

    return _render((draw_ratio, draw_cumulative), "variance", height=4.2)


def plot_drift(points: Sequence[DriftPoint]) -> Plot:
    """Plot the drift of consecutive refits, oldest first."""
    x = np.arange(len(points))

    def draw(axes: Axes, title: str, lines: Sequence[tuple[str, str, str]]) -> None:
        """Draw attributes of the points as lines: name, threshold and label of each."""
        axes.set_title(title, fontsize=11)
        for (name, limit, label), color in zip(lines, COLORS, strict=False):
            values = np.array([getattr(point, name) for point in points])
            axes.plot(x, values, "o-", color=color, markersize=5, label=label)
            axes.set_ylim(0, max(axes.get_ylim()[1], 1.15 * float(values.max()), 0.01))
            exceeded = [index for index, point in enumerate(points) if limit in point.exceeded]
            if exceeded:
                is_first = "threshold exceeded" not in axes.get_legend_handles_labels()[1]
                # A label with a leading underscore is not in the legend.
                legend = "threshold exceeded" if is_first else "_threshold exceeded"
                axes.plot(
                    x[exceeded], values[exceeded], "D", color=COLORS[3], markersize=8, label=legend
                )
        step = -(-len(points) // 8)
        axes.set_xticks(x[::step], [point.name for point in points][::step])
        axes.set_xlim(-0.5, len(points) - 0.5)
        axes.set_xlabel("features version")
        _add_legend(axes, "best")

    def draw_rotation(axes: Axes) -> None:
        """Draw the rotation of the correlation matrix."""
        title = "rotation of the correlation matrix, degrees"
        draw(axes, title, [("angle", "angle", "correlation matrix")])

    def draw_shift(axes: Axes) -> None:
        """Draw the shift of the mean of all images, and of the label with the largest one."""
        title = "mean shift, standard deviations"
        largest = ("label_shift", "label", "label with the largest shift")
        draw(axes, title, [("shift", "shift", "all images"), largest])

    return _render((draw_rotation, draw_shift), "drift", height=3.6)


def _add_legend(axes: Axes, location: str, title: str | None = None) -> None:
    colors = {"facecolor": _BACKGROUND, "edgecolor": _GRID, "labelcolor": _TEXT}
    legend = axes.legend(loc=location, **colors)  # type: ignore[call-overload]
    legend.set_title(title)
    legend.get_title().set_color(_TEXT)


def apply_theme(figure: Figure) -> Figure:
    """Draw the axes of a figure in the colors that the report replaces by CSS variables."""
    for axes in figure.axes:
        axes.grid(color=_GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[:].set_color(_GRID)
        axes.tick_params(color=_GRID, labelcolor=_MUTED)
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            text.set_color(_TEXT)
    return figure


def _render(panels: Sequence[Callable[[Axes], None]], name: str, height: float) -> Plot:
    """Draw the panels side by side as PNG, and one by one as SVG, so that the report can stack them."""
    figure = Figure(figsize=(5 * len(panels), height), dpi=130, layout="constrained")
    for axes, draw in zip(figure.subplots(1, len(panels)), panels, strict=True):
        draw(axes)
    png = save_figure(apply_theme(figure), "png")
    svgs = (
        _render_svg(draw, f"{name}{number}", height) for number, draw in enumerate(panels, start=1)
    )
    return Plot(png, tuple(svgs))


def _render_svg(draw: Callable[[Axes], None], name: str, height: float) -> str:
    figure = Figure(figsize=(5, height), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    apply_theme(figure)
    for patch in (figure.patch, axes.patch):
        patch.set_visible(False)
    # Ids must be unique in the report. Matplotlib derives them from the salt.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        text = save_figure(figure, "svg").decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"#(\w+)[)\"]", svg))
    svg = re.sub(r' id="([\w.]+)"', lambda match: match[0] if match[1] in used else "", svg)
    for color, variable in _CSS_VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return svg


def save_figure(figure: Figure, kind: str) -> bytes:
    """Render a figure as ``png`` or ``svg``. Needs no display, because it does not use pyplot."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
