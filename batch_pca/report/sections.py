"""Sections of the HTML report; all external text is escaped."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from batch_pca.pca.fit import Reduction
from batch_pca.report.markers import MarkerStyle
from batch_pca.report.outliers import NotableImage
from batch_pca.report.plots import TARGET_RATIOS, DriftPoint
from streaming.counts import format_count
from streaming.sanitize import display_locations, escape_html

Codes = NDArray[np.uint32]
Rows = Sequence[Sequence[object]]
_MAX_LABEL_SHIFTS = 10
_MAX_LABELS = 50
# Numbers of columns from which a table does not fit into a window of medium width, and into a narrow one.
_WIDE, _MEDIUM = 5, 3
# Longer words may be broken: 16 letters fit into half of a window of 320 pixels.
_LONGEST_WORD = 16


def table(rows: Rows, head: Sequence[object] = ()) -> str:
    """Render rows as a table; the first cell of each row is its header."""
    lines = []
    if head:
        columns = "".join(f'<th scope="col">{escape_html(str(cell))}</th>' for cell in head)
        lines.append(f'<tr class="head">{columns}</tr>')
    for name, *values in rows:
        cells = [f'<th scope="row"{_long(name)}>{breakable(name)}</th>']
        for value, column in zip_longest(values, head[1:], fillvalue=""):
            title = f' data-column="{escape_html(str(column))}"' if column else ""
            cells.append(f"<td{title}{_long(value)}>{breakable(value)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    # A narrow window shows each row of these as a list of columns and values.
    kind = "wide" if len(head) >= _WIDE else "medium" if len(head) >= _MEDIUM else ""
    name = f' class="{kind}"' if kind else ""
    return f"<table{name}>{''.join(lines)}</table>"


def breakable(text: object) -> str:
    """Escape a text, show its locations as paths and ``s3://`` URIs, and allow line breaks after each slash."""
    return escape_html(display_locations(str(text))).replace("/", "/<wbr>")


def _long(text: object) -> str:
    """Return the class of a cell with a word that does not fit on a line of a narrow window, such as a hash."""
    if re.fullmatch(r"[-\d., ±]+", str(text)):
        return ' class="number"'
    words = re.split(r"[\s/-]", str(text))
    return ' class="long"' if max(map(len, words)) > _LONGEST_WORD else ""


def _scrollable(content: str, name: str) -> str:
    """Wrap content that scrolls on its own in a narrow window, also by keyboard."""
    return f'<div class="scrollable" role="region" tabindex="0" aria-label="{name}">{content}</div>'


def png_figure(png: bytes, description: str) -> str:
    """Embed a PNG file."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<figure><img alt="{description}" src="{source}"></figure>'


def _svg_figure(svgs: Sequence[str], description: str) -> str:
    """Embed the panels of a plot, side by side if the page is wide enough."""
    label = escape_html(description)
    return f'<figure class="panels" role="img" aria-label="{label}">{"".join(svgs)}</figure>'


def summary_cards(fit: Reduction, rows: int) -> str:
    """Render the most important numbers of a refit."""
    facts = (
        ("rows", f"{rows:,}"),
        ("rows fitted", f"{fit.count:,}"),
        ("columns", f"{fit.mean.size:,}, of which {fit.constant_columns:,} are constant"),
        ("components kept", f"{fit.k:,}, {fit.cumulative[fit.k - 1]:.2%} of the variance"),
    )
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)


def label_list(labels: Sequence[str], codes: Codes, styles: Sequence[MarkerStyle]) -> str:
    """Render the labels with their markers and counts. The script reads names and markers from this list."""
    counts = np.bincount(codes, minlength=len(labels))
    items = []
    for index, (label, style) in enumerate(zip(labels, styles, strict=True)):
        items.append(
            f'<li><label><input type="checkbox" checked disabled>'
            f'<svg viewBox="-1.25 -1.25 2.5 2.5" color="{style.color}" aria-hidden="true">'
            f'<path d="{style.path}"/></svg><bdi>{escape_html(label)}</bdi> '
            f"<small>{counts[index]:,}</small></label></li>"
        )
    return "".join(items)


def label_statistics(labels: Sequence[str], codes: Codes, scores: NDArray[np.floating]) -> str:
    """Render mean and standard deviation of each label's scores on the first two components."""
    drawn = scores[:, :2].astype(np.float64)
    counts = np.bincount(codes, minlength=len(labels))
    sums = [[np.bincount(codes, column**power) for column in drawn.T] for power in (1, 2)]
    means, squares = (np.array(each).T / counts[:, np.newaxis] for each in sums)
    deviations = np.sqrt(np.maximum(squares - means**2, 0))
    rows = [
        [label, f"{count:,}", *(f"{m:.2f} ± {s:.2f}" for m, s in zip(mean, std, strict=True))]
        for label, count, mean, std in zip(labels, counts, means, deviations, strict=True)
    ]
    components = [f"component {i + 1}" for i in range(drawn.shape[1])]
    content = table(rows, ["label", "images shown", *components])
    return _scrollable(content, "Mean and standard deviation of each label")


def gallery(
    images: Sequence[NotableImage], thumbnails: Mapping[str, bytes], missing: Mapping[str, str]
) -> str:
    """Render a list of images; those without a thumbnail show the reason, if it is given."""
    if not images:
        return "<p>None.</p>"
    items = []
    for image in images:
        reason = missing.get(image.path)
        text = f"no thumbnail: {reason}" if reason else "no thumbnail"
        thumbnail = f'<span class="none">{escape_html(text)}</span>'
        if image.path in thumbnails:
            source = f"data:image/jpeg;base64,{base64.b64encode(thumbnails[image.path]).decode()}"
            thumbnail = f'<img alt="{escape_html(display_locations(image.path))}" src="{source}">'
        items.append(
            f"<li>{thumbnail}<div><b>{escape_html(image.label)}</b>"
            f"<div>{escape_html(image.reason)}</div><small>{breakable(image.path)}</small></div></li>"
        )
    return f'<ul class="gallery">{"".join(items)}</ul>'


def explained_variance(fit: Reduction, svgs: Sequence[str]) -> str:
    """Render the scree plot and cumulative plot, and the number of components for `TARGET_RATIOS`."""
    needed = [
        (f"{ratio:.0%} of the variance", f"{fit.components_for(ratio):,}")
        for ratio in TARGET_RATIOS
    ]
    note = f"""<p class="note">Only {format_count(fit.count, "row")} were fitted. The limit is
{format_count(fit.count - 1, "component")}: the number of rows is the limit here, not the data. With more rows
the numbers for 90%, 95% and 99% would grow.</p>"""
    first = f"The first component explains {fit.explained_variance_ratio[0]:.1%} of the variance"
    components = "; ".join(f"{count} explain {ratio}" for ratio, count in needed)
    figure = _svg_figure(
        svgs, f"Explained variance of each component, and cumulative. {first}; {components}."
    )
    return (
        (note if fit.limited_by_rows else "") + figure + table(needed, ["to explain", "components"])
    )


def drift(
    history: Sequence[DriftPoint],
    refits: Rows,
    label_shifts: Mapping[str, float],
    svgs: Sequence[str],
    new_labels: Mapping[str, int],
    vanished_labels: Mapping[str, int],
) -> str:
    """Render the drift of the refits up to this one.

    `svgs` is the plot of `history`. It is empty if there are fewer than two points, which show no trend.
    """
    parts = []
    if history:
        last = history[-1]
        summary = (
            f"Latest refit with an earlier one to compare with (version {last.name}): correlation matrix rotated by "
            f"{last.angle:.1f}°, mean shifted by {last.shift:.2f} standard deviations, "
            f"largest label shift {last.label_shift:.2f}."
        )
        if svgs:
            parts.append(_svg_figure(svgs, f"Drift of each refit since its baseline. {summary}"))
        parts.append(f"<p>{summary}</p>")
    else:
        parts.append("<p>There is no refit of an earlier version to compare with yet.</p>")
    if label_shifts:
        largest = list(label_shifts.items())[:_MAX_LABEL_SHIFTS]
        rows = [(name, f"{shift:.2f}") for name, shift in largest]
        parts.append("<h3>Labels with the largest shift since the baseline</h3>")
        parts.append(table(rows, ["label", "standard deviations"]))
    for kind, counts in (("New", new_labels), ("Vanished", vanished_labels)):
        if counts:
            most = list(counts.items())[:_MAX_LABELS]
            rows = [(name, f"{count:,}") for name, count in most]
            more = f", of which {len(rows):,} are shown" if len(counts) > len(rows) else ""
            parts.append(f"<h3>{kind} labels since the baseline: {len(counts):,}{more}</h3>")
            parts.append(table(rows, ["label", "images"]))
    if refits:
        content = table(refits[1:], refits[0])
        parts.append(
            f"<h3>Refits up to this one</h3>{_scrollable(content, 'Refits up to this one')}"
        )
    return "".join(parts)


def quarantine(
    images: Mapping[str, int] | None,
    listed: Sequence[NotableImage],
    thumbnails: Mapping[str, bytes],
    missing: Mapping[str, str],
) -> str:
    """Render the number of quarantined images by reason, and some of them with what can be decoded."""
    if images is None:
        return "<p>The lake has no quarantine table.</p>"
    if not images:
        return "<p>No image was in quarantine when this report was created.</p>"
    largest = max(images.values())
    rows = "".join(
        f'<tr><th scope="row">{escape_html(reason)}</th><td>{count:,}</td>'
        f'<td class="bar"><svg class="count-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * count / largest:.1f}" height="8"/></svg></td></tr>'
        for reason, count in sorted(images.items(), key=lambda item: (-item[1], item[0]))
    )
    total = sum(images.values())
    counted = f"{format_count(total, 'image')} {'was' if total == 1 else 'were'}"
    details = ""
    if listed:
        more = f", {len(listed):,} of {total:,}" if len(listed) < total else ""
        items = gallery(listed, thumbnails, missing)
        details = f"<details><summary>Quarantined images{more}</summary>{items}</details>"
    return (
        f"<p>{counted} in quarantine when this report was created.</p>"
        f'<table><tr><th scope="col">reason</th><th scope="col">images</th><td class="bar"></td></tr>'
        f"{rows}</table>{details}"
    )


def lineage(facts: Sequence[tuple[str, str]], document: str) -> str:
    """Render the origin of the refit: a table of facts, and the content of ``refit.json``."""
    details = (
        f"<details><summary>refit.json</summary><pre>{_escape_lines(document)}</pre></details>"
        if document
        else ""
    )
    return table(facts) + details


def _escape_lines(document: str) -> str:
    """Escape a text of several lines, keeping the line breaks."""
    return "\n".join(map(escape_html, document.split("\n")))
