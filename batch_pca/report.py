"""The page that goes with a refit: where the labels lie, and how many components the data need.

One HTML file that opens offline: its plots and styles are in it, and it may load and run nothing else.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from batch_pca.fit import Reduction
from streaming.visible import visible, visible_html

SHARES = (0.90, 0.95, 0.99)
# 12 colours in 11 shapes: 132 marks, no two alike, for the 131 classes of the fruit photographs.
COLOURS = (
    *("#1f77b4", "#e8590c", "#2b8a3e", "#c92a2a", "#7048e8", "#8d5524"),
    *("#e64980", "#0b7285", "#748c00", "#f2a900", "#15aabf", "#495057"),
)
SHAPES, SIGNS = "o^sPDXv*<h>", "●▲■✚◆✖▼★◀⬢▶"  # in the plots, and the same in the page
_ACROSS = 5  # columns of the legend
_CSS = """:root{color-scheme:light dark;--dim:#5c636a;--line:#d5d9dd;--page:#fff;--warn:#fff3bf}
@media(prefers-color-scheme:dark){:root{--dim:#a0a7ae;--line:#3d4349;--page:#16191c;--warn:#453b12}}
body{font:16px/1.5 system-ui,sans-serif;background:var(--page);max-width:62rem;margin:2rem auto;
padding:0 1rem;overflow-wrap:anywhere}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
small,th{color:var(--dim)}table{border-collapse:collapse}th,td{text-align:left;font-weight:400;
padding:.25rem 2rem .25rem 0;vertical-align:top;border-bottom:1px solid var(--line)}
.note{background:var(--warn);padding:.7rem 1rem;border-radius:8px}
img,b{background:#fff;border-radius:4px}img{width:100%}ol{columns:13rem;padding:0}
li{break-inside:avoid;margin-left:2.6em}b{padding:0 .15em;margin-right:.2em}"""


@dataclass(frozen=True, eq=False)
class ReportData:
    """What a page shows.

    `facts` are more rows (name, value) of its first table. `points`, of shape (m, 1) or (m, 2),
    are the scores on the first one or two components of a sample of `sampled_from` rows, and
    `labels` their m labels; ValueError where the two do not fit.
    """

    refit_id: str
    lake: str
    facts: tuple[tuple[str, str], ...]
    labels: Sequence[str]
    points: NDArray[Any]
    sampled_from: int
    reduction: Reduction

    def __post_init__(self) -> None:
        """Refuse points that do not match the labels."""
        count = len(self.labels)
        if not count or self.points.shape not in {(count, 1), (count, 2)}:
            raise ValueError(f"points of shape {self.points.shape} do not fit {count} labels")


@dataclass(frozen=True)
class Report:
    """A page, and the PNG files shown in it by name."""

    html: str
    plots: dict[str, bytes]


def render(data: ReportData) -> Report:
    """Draw the plots ``scatter.png`` and ``variance.png``, and write the page around them."""
    plots = {"scatter.png": _scatter(data), "variance.png": _variance(data.reduction)}
    return Report(_page(data, plots), plots)


def _mark(place: int, shapes: str = SHAPES) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], shapes[place // len(COLOURS) % len(shapes)]


def _names(labels: Sequence[str]) -> list[str]:
    """Return the labels as the plots write them: by number where their font lacks a letter."""
    font = get_font(findfont(FontProperties()))
    shown = [visible(label) for label in labels]
    short = [label if len(label) <= 26 else label[:25] + "…" for label in shown]
    drawn = [all(font.get_char_index(ord(letter)) for letter in name) for name in short]
    return [short[i] if drawn[i] else f"label {i + 1}" for i in range(len(labels))]


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.grid(color="#e9ecef", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[:].set_color("#ced4da")
        axes.tick_params(color="#ced4da", labelcolor="#343a40")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")  # without pyplot this is Agg, which needs no display
    return buffer.getvalue()


def _scatter(data: ReportData) -> bytes:
    """Plot the points by label: two components, or where there is one, a strip for each label."""
    labels, strips = sorted(set(data.labels)), data.points.shape[1] == 1
    codes = np.searchsorted(labels, list(data.labels))
    names = _names(labels)[: len(labels) if strips else len(COLOURS) * len(SHAPES)]
    height = 1.2 + 0.21 * len(names) if strips else 6.8 + 0.21 * len(names) / _ACROSS
    figure = Figure(figsize=(10, float(np.clip(height, 3, 40))), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    random = np.random.default_rng(0)
    order = random.permutation(len(codes))  # so that no label lies on top of all others
    y = codes + random.uniform(-0.3, 0.3, len(codes)) if strips else data.points[:, 1]
    size = float(np.clip(25_000 / len(codes), 12, 36))
    for group in np.unique(codes // len(COLOURS)):
        at = order[codes[order] // len(COLOURS) == group]
        colours, shape = [_mark(code)[0] for code in codes[at]], _mark(group * len(COLOURS))[1]
        axes.scatter(data.points[at, 0], y[at], size, colours, marker=shape, alpha=0.75, lw=0)
    shares = [f"{ratio:.1%} of the variance" for ratio in data.reduction.explained_variance_ratio]
    axes.set_xlabel(f"component 1, {shares[0]}")
    if strips:
        axes.set_yticks(range(len(names)), names, parse_math=False, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
    else:
        axes.set_ylabel(f"component 2, {shares[1]}")
        axes.set_aspect("equal", adjustable="datalim")
        _legend(figure, names)
    return _png(figure)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    marks = [_mark(place) for place in range(len(names))]
    handles = [Line2D([], [], color=c, marker=m, linestyle="", markersize=6) for c, m in marks]
    below = figure.legend(handles, names, loc="outside lower center", ncols=_ACROSS, fontsize=8)
    for text in below.get_texts():
        text.set_parse_math(False)  # a "$" in a label is a dollar


def _variance(reduction: Reduction) -> bytes:
    """Plot each component's share of the variance, and what the first so many explain together."""
    ratio, cumulative = reduction.explained_variance_ratio, reduction.cumulative
    figure = Figure(figsize=(10, 4.2), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set_title("each component", fontsize=11)
    right.set_title("the first components together", fontsize=11)
    for axes, values in ((left, ratio), (right, cumulative)):
        axes.plot(np.arange(1, len(ratio) + 1), values, ".-", color=COLOURS[0], markersize=4)
        axes.set(xlabel="component", xlim=(0, len(ratio) + 1), ylim=(0, 1.06 * values.max()))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    right.axvline(reduction.k, color="#868e96", lw=1, label=f"kept: {reduction.k:,}")
    for share, colour, shape in zip(SHARES, COLOURS[1:4], "osD", strict=True):
        right.axhline(share, color=colour, lw=0.8, ls="--")
        k = reduction.components_for(share)
        right.plot(k, cumulative[k - 1], shape, color=colour, label=f"{share:.0%}: {k:,}")
    limit = f"at most {len(ratio):,}: only {reduction.count:,} rows"
    right.legend(loc="lower right", title=limit if reduction.limited_by_rows else None)
    return _png(figure)


def _page(data: ReportData, plots: dict[str, bytes]) -> str:
    fit, counts = data.reduction, Counter(data.labels)
    kept = f"{fit.k:,}, {fit.cumulative[fit.k - 1]:.2%} of the variance"
    columns = f"{fit.mean.size:,}, of which {fit.constant_columns:,} never vary"
    own = (("rows fitted", f"{fit.count:,}"), ("columns", columns), ("components kept", kept))
    needed = [(f"{s:.0%} of the variance", f"{fit.components_for(s):,}") for s in SHARES]
    note = f"""<p class="note">Only {fit.count:,} rows were fitted, so there are at most
{fit.count - 1:,} components: the number of rows is the limit here, not the data. With more rows
the numbers for 90, 95 and 99 % would grow.</p>"""
    marks = "".join(
        '<li><b style="color:{}">{}</b> '.format(*_mark(place, SIGNS))
        + f"<bdi>{visible_html(label)}</bdi> <small>{counts[label]:,}</small></li>"
        for place, label in enumerate(sorted(counts))
    )
    title = visible_html(f"Reduction {data.refit_id}")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<meta name="viewport" content="width=device-width"><style>{_CSS}</style></head><body>
<h1>{title}</h1>{_table((("lake", data.lake), *data.facts, *own))}
<h2>How many components</h2>{note if fit.limited_by_rows else ""}
{_table((("to explain", "components"), *needed))}
{_image(plots["variance.png"], "Variance that each component explains, and the first together")}
<h2>Where the labels lie</h2>
<p>{len(data.labels):,} of {data.sampled_from:,} rows, {len(counts):,} labels</p>
{_image(plots["scatter.png"], "Scores on the first components, marked by label")}
<ol>{marks}</ol></body></html>
"""


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = (
        f"<tr><th>{visible_html(name)}</th><td>{visible_html(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _image(png: bytes, text: str) -> str:
    return f'<img alt="{text}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
