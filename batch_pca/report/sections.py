"""Sections of the HTML report; all external text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from batch_pca.pca.fit import Reduction
from batch_pca.report.markers import mark
from batch_pca.report.plots import SHARES, Movement
from streaming.sanitize import escape_html

Codes = NDArray[np.uint32]
Rows = Sequence[Sequence[object]]
_MOST_MOVED = 10


def table(rows: Rows, head: Sequence[object] = ()) -> str:
    """Rows of text; the first cell of each names it."""
    lines = ["".join(f'<th scope="col">{escape_html(str(cell))}</th>' for cell in head)]
    for name, *values in rows:
        cells = "".join(f"<td>{escape_html(str(value))}</td>" for value in values)
        lines.append(f'<th scope="row">{escape_html(str(name))}</th>{cells}')
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines if line)}</table>"


def _wide(content: str, name: str) -> str:
    """What scrolls by itself where the window is narrow, by keys too."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{name}">{content}</div>'


def picture(png: bytes, words: str) -> str:
    """A PNG that the page carries."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<figure><img alt="{words}" src="{source}"></figure>'


def _figure(svg: str, words: str) -> str:
    return f'<figure role="img" aria-label="{escape_html(words)}">{svg}</figure>'


def cards(fit: Reduction, rows: int) -> str:
    """What is asked first."""
    facts = (
        ("rows", f"{rows:,}"),
        ("rows fitted", f"{fit.count:,}"),
        ("columns", f"{fit.mean.size:,}, of which {fit.constant_columns:,} never vary"),
        ("components kept", f"{fit.k:,}, {fit.cumulative[fit.k - 1]:.2%} of the variance"),
    )
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)


def marks(labels: Sequence[str], codes: Codes) -> str:
    """The list of the labels with their marks and counts; the script reads both from here."""
    counts = np.bincount(codes, minlength=len(labels))
    return "".join(
        f'<li><label><input type="checkbox" checked disabled>'
        f'<svg viewBox="-1.25 -1.25 2.5 2.5" color="{mark(place).colour}" aria-hidden="true">'
        f'<path d="{mark(place).path}"/></svg><bdi>{escape_html(label)}</bdi> '
        f"<small>{counts[place]:,}</small></label></li>"
        for place, label in enumerate(labels)
    )


def middles(labels: Sequence[str], codes: Codes, scores: NDArray[np.floating]) -> str:
    """The scatter plot in numbers: mean and standard deviation of each label's scores on the first two components."""
    drawn = scores[:, :2].astype(np.float64)
    counts = np.bincount(codes, minlength=len(labels))
    sums = [[np.bincount(codes, column**power) for column in drawn.T] for power in (1, 2)]
    means, squares = (np.array(each).T / counts[:, np.newaxis] for each in sums)
    spreads = np.sqrt(np.maximum(squares - means**2, 0))
    rows = [
        [label, f"{count:,}", *(f"{m:.2f} ± {s:.2f}" for m, s in zip(middle, spread, strict=True))]
        for label, count, middle, spread in zip(labels, counts, means, spreads, strict=True)
    ]
    components = [f"component {i + 1}" for i in range(drawn.shape[1])]
    told = table(rows, ["label", "images shown", *components])
    return _wide(told, "The middle of each label")


def how_many(fit: Reduction, svg: str) -> str:
    """Scree and cumulative plot, and the numbers that are read off them."""
    needed = [(f"{s:.0%} of the variance", f"{fit.components_for(s):,}") for s in SHARES]
    note = f"""<p class="note">Only {fit.count:,} rows were fitted, so there are at most
{fit.count - 1:,} components: the number of rows is the limit here, not the data. With more rows
the numbers for 90, 95 and 99 % would grow.</p>"""
    first = f"The first component explains {fit.explained_variance_ratio[0]:.1%} of the variance"
    all_ = "; ".join(f"{count} explain {share}" for share, count in needed)
    figure = _figure(
        svg, f"Variance that each component explains, and the first together. {first}; {all_}."
    )
    return (
        (note if fit.limited_by_rows else "") + figure + table(needed, ["to explain", "components"])
    )


def drifted(
    moves: Sequence[Movement], refits: Rows, labels: Mapping[str, float], svg: str | None
) -> str:
    """How the refits up to this one have moved."""
    parts = []
    if svg:
        last = moves[-1]
        words = (
            f"The last refit that could be compared, of version {last.name}, turned by {last.angle:.1f}° and moved "
            f"by {last.shift:.2f} standard deviations, its furthest label by {last.furthest_label:.2f}."
        )
        parts.append(_figure(svg, f"How far each refit moved from the one before. {words}"))
        parts.append(f"<p>{words}</p>")
    else:
        parts.append("<p>No refit yet of an earlier version to compare with.</p>")
    if labels:
        rows = [(name, f"{moved:.2f}") for name, moved in list(labels.items())[:_MOST_MOVED]]
        parts.append("<h3>Labels that moved most since the refit before</h3>")
        parts.append(table(rows, ["label", "standard deviations"]))
    if refits:
        told = table(refits[1:], refits[0])
        parts.append(f"<h3>Refits up to this one</h3>{_wide(told, 'Refits up to this one')}")
    return "".join(parts)


def quarantined(images: Mapping[str, int] | None) -> str:
    """Images that could not be featurized, by reason."""
    if images is None:
        return "<p>Nothing is known of a quarantine.</p>"
    if not images:
        return "<p>No image was in quarantine when this page was made.</p>"
    most = max(images.values())
    rows = "".join(
        f'<tr><th scope="row">{escape_html(reason)}</th><td>{count:,}</td>'
        f'<td><svg class="rod" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="share" width="{100 * count / most:.1f}" height="8"/></svg></td></tr>'
        for reason, count in sorted(images.items(), key=lambda item: (-item[1], item[0]))
    )
    return (
        f"<p>{sum(images.values()):,} images were in quarantine when this page was made.</p>"
        f'<table><tr><th scope="col">reason</th><th scope="col">images</th><td></td></tr>{rows}</table>'
    )


def lineage(facts: Sequence[tuple[str, str]], document: str) -> str:
    """Where the refit comes from, for people and as a program reads it."""
    told = (
        f"<details><summary>refit.json</summary><pre>{visible_document(document)}</pre></details>"
    )
    return table(facts) + (told if document else "")


def visible_document(document: str) -> str:
    """JSON of some lines, as text of a page."""
    return "\n".join(map(escape_html, document.split("\n")))
