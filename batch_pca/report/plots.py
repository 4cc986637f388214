"""Plots of a refit, drawn once by Matplotlib: as PNG files, and as SVG for light and dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from batch_pca.pca.fit import Reduction
from batch_pca.report.markers import COLOURS

SHARES = (0.90, 0.95, 0.99)
# The page puts its own colours in place of these, which nothing else is drawn in.
_INK, _DIM, _LINE, _PAGE = "#1d2125", "#59626a", "#d9dee2", "#fefefe"
_VARIABLES = {_INK: "--ink", _DIM: "--dim", _LINE: "--line", _PAGE: "--page"}


@dataclass(frozen=True)
class Plot:
    """A plot as a PNG file, and as an ``<svg>`` element for a page that has the variables of its colours."""

    png: bytes
    svg: str


@dataclass(frozen=True)
class Movement:
    """How far one refit has moved from the one before: its name, degrees, and standard deviations."""

    name: str
    angle: float
    shift: float
    furthest_label: float
    passed: bool


def variance(reduction: Reduction) -> Plot:
    """Plot each component's share of the variance (scree), and what the first so many explain together."""
    ratio, cumulative = reduction.explained_variance_ratio, reduction.cumulative
    figure = Figure(figsize=(10, 4.2), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set_title("each component (scree)", fontsize=11)
    right.set_title("the first components together", fontsize=11)
    dots = "." if len(ratio) <= 60 else ""
    for axes, values in ((left, ratio), (right, cumulative)):
        axes.plot(np.arange(1, len(ratio) + 1), values, f"{dots}-", color=COLOURS[0], markersize=5)
        axes.set(xlabel="component", xlim=(0, len(ratio) + 1), ylim=(0, 1.06 * values.max()))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    right.axvline(reduction.k, color=_DIM, lw=1, label=f"kept: {reduction.k:,}")
    for share, colour, shape in zip(SHARES, COLOURS[1:4], "osD", strict=True):
        right.axhline(share, color=colour, lw=0.8, ls="--")
        k = reduction.components_for(share)
        label = f"{share:.0%}: {k:,}"
        right.plot(k, cumulative[k - 1], shape, color=colour, label=label, linestyle="")
    limit = f"at most {len(ratio):,}: only {reduction.count:,} rows"
    _explain(right, "lower right", limit if reduction.limited_by_rows else None)
    return _plot(figure, "variance")


def drift(moves: Sequence[Movement]) -> Plot:
    """Plot how far each of some refits, oldest first, has moved from the one before."""
    figure = Figure(figsize=(10, 3.6), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set_title("subspace turned by, degrees", fontsize=11)
    right.set_title("mean moved by, standard deviations", fontsize=11)
    places = np.arange(len(moves))
    over = [place for place, move in enumerate(moves) if move.passed]
    for axes, name, label, colour in (
        (left, "angle", "subspace", COLOURS[0]),
        (right, "shift", "all images", COLOURS[0]),
        (right, "furthest_label", "label that moved most", COLOURS[1]),
    ):
        values = np.array([getattr(move, name) for move in moves])
        axes.plot(places, values, "o-", color=colour, markersize=5, label=label)
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.15 * float(values.max()), 0.01))
        if name != "furthest_label":
            told = {"label": "a limit was passed"} if over else {}
            axes.plot(places[over], values[over], "D", color=COLOURS[3], markersize=8, **told)
    for axes in (left, right):
        every = -(-len(moves) // 8)
        axes.set_xticks(places[::every], [move.name for move in moves][::every])
        axes.set_xlim(-0.5, len(moves) - 0.5)
        axes.set_xlabel("refit of version")
        _explain(axes, "best")
    return _plot(figure, "drift")


def _explain(axes: Axes, where: str, title: str | None = None) -> None:
    colours = {"facecolor": _PAGE, "edgecolor": _LINE, "labelcolor": _INK}
    box = axes.legend(loc=where, **colours)  # type: ignore[call-overload]
    box.set_title(title)
    box.get_title().set_color(_INK)


def styled(figure: Figure) -> Figure:
    """Give the axes of a figure the colours that the page knows."""
    for axes in figure.axes:
        axes.grid(color=_LINE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[:].set_color(_LINE)
        axes.tick_params(color=_LINE, labelcolor=_DIM)
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            text.set_color(_INK)
    return figure


def _plot(figure: Figure, name: str) -> Plot:
    png = saved(styled(figure), "png")
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    # Ids in the page must not meet: matplotlib makes them of the salt.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        text = saved(figure, "svg").decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"#(\w+)[)\"]", svg))
    svg = re.sub(r' id="([\w.]+)"', lambda found: found[0] if found[1] in used else "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return Plot(png, svg)


def saved(figure: Figure, kind: str) -> bytes:
    """Draw a figure as ``png`` or ``svg``."""
    buffer = io.BytesIO()
    # Without pyplot it needs no display.
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
