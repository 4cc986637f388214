"""Render the HTML report of a refit: scatter plot, explained variance, drift, quarantine.

One HTML file that works offline: plots, styles and its script are embedded, and a content security policy forbids
loading anything else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch_pca.pca.fit import Reduction
from batch_pca.report import sections
from batch_pca.report.markers import label_styles
from batch_pca.report.outliers import NotableImage, NotableImages
from batch_pca.report.plots import DriftPoint, plot_drift, plot_variance
from batch_pca.report.scatter import plot_scatter
from batch_pca.report.thumbnails import Thumbnails
from streaming.counts import format_count
from streaming.sanitize import display_locations, escape_html, escape_text

Rows = Sequence[Sequence[object]]
#: Labels that the report lists one by one. Each takes some 400 bytes, and the browser draws its name.
_MAX_LABELS = 1000


@dataclass(frozen=True, eq=False)
class Points:
    """A sample of the reduced rows, in any order.

    Attributes
    ----------
    paths, labels : sequence of m str
    scores : ndarray of shape (m, c)
        Scores on the first c components, 1 or more.
    total : int
        Number of rows that the sample was drawn from.
    thumbnails : mapping of str to bytes
        JPEG files of some of the images, by path.
    missing : mapping of str to str
        Reasons why others have none, by path.

    Raises
    ------
    ValueError
        If there are no points, or the lengths of paths, labels and scores differ.
    """

    paths: Sequence[str]
    labels: Sequence[str]
    scores: NDArray[Any]
    total: int
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, shape = len(self.labels), self.scores.shape
        if (
            not count
            or len(self.paths) != count
            or len(shape) != 2
            or shape[0] != count
            or not shape[1]
        ):
            raise ValueError(f"scores of shape {shape} do not fit {count} labels")


@dataclass(frozen=True, eq=False)
class ReportData:
    """Content of a report.

    Attributes
    ----------
    refit_id, lake : str
    reduction : Reduction
    points : Points
    facts : sequence of (str, str)
        Names and values of the lineage section.
    document : str
        Content of ``refit.json``; may be empty.
    drift_history : sequence of DriftPoint
        Drift of this refit and of earlier ones that had a baseline, oldest first.
    refits : sequence of rows
        This refit and earlier ones, latest first, after a row of headings.
    label_shifts : mapping of str to float
        Shift of each label since the baseline in standard deviations, largest first.
    new_labels, vanished_labels : mapping of str to int
        Labels that only this refit, or only the baseline, has, with their numbers of images.
    quarantine : mapping of str to int, or None
        Number of quarantined images by reason; None if the lake has no quarantine table.
    quarantined : sequence of NotableImage
        Path, reason (as the label) and detail (as the reason) of quarantined images.
    quarantine_thumbnails : Thumbnails
        Their thumbnails, or why there is none.
    source : str
        Folder or prefix of the images, see `find_source`; may be empty.
    created_at : datetime, optional
        Time of the refit, UTC.
    label_order : sequence of str
        Labels of this and earlier refits in the order of their first appearance, see `extend_order`. It determines
        their marker styles. Labels that are missing follow in the order of their names.
    notable : NotableImages
        Unusual images, and images whose neighbors have another label.
    """

    refit_id: str
    lake: str
    reduction: Reduction
    points: Points
    facts: Sequence[tuple[str, str]] = ()
    document: str = ""
    drift_history: Sequence[DriftPoint] = ()
    refits: Rows = ()
    label_shifts: Mapping[str, float] = field(default_factory=dict)
    new_labels: Mapping[str, int] = field(default_factory=dict)
    vanished_labels: Mapping[str, int] = field(default_factory=dict)
    quarantine: Mapping[str, int] | None = None
    quarantined: Sequence[NotableImage] = ()
    quarantine_thumbnails: Thumbnails = field(default_factory=Thumbnails)
    source: str = ""
    created_at: datetime | None = None
    label_order: Sequence[str] = ()
    notable: NotableImages = field(default_factory=NotableImages)


@dataclass(frozen=True)
class Report:
    """The HTML report, and its plots as PNG files by name."""

    html: str
    plots: dict[str, bytes]


def render(data: ReportData) -> Report:
    """Draw ``scatter.png``, ``variance.png`` and, with a drift history of at least two refits, ``drift.png``.

    Render the HTML from these plots and the data.
    """
    points, fit = data.points, data.reduction
    labels, codes = _entries(points.labels)
    scatter = plot_scatter(
        labels, codes, points.scores, fit.explained_variance_ratio, data.label_order
    )
    variance = plot_variance(fit)
    # A chart of one refit would show no trend.
    drift = plot_drift(data.drift_history) if len(data.drift_history) > 1 else None
    title = _title(data)
    script = _read_resource("report.js")
    html = Template(_read_resource("report.html")).substitute(
        policy=_content_security_policy(script),
        title=escape_html(title),
        heading=sections.breakable(title),
        refit=escape_html(data.refit_id),
        style=_read_resource("report.css"),
        lake=sections.breakable(data.lake),
        cards=sections.summary_cards(fit, points.total),
        sample=f"{len(codes):,} of {format_count(points.total, 'row')}, "
        + format_count(len(set(points.labels)), "label"),
        scatter=sections.png_figure(scatter, "Scores on the first components, marked by label"),
        labels=sections.label_list(labels, codes, label_styles(labels, data.label_order)),
        label_statistics=sections.label_statistics(labels, codes, points.scores),
        unusual=sections.gallery(data.notable.unusual, points.thumbnails, points.missing),
        disagreeing=sections.gallery(data.notable.disagreeing, points.thumbnails, points.missing),
        variance=sections.explained_variance(fit, variance.svgs),
        drift=sections.drift(
            data.drift_history,
            data.refits,
            data.label_shifts,
            drift.svgs if drift else (),
            data.new_labels,
            data.vanished_labels,
        ),
        quarantine=sections.quarantine(
            data.quarantine,
            data.quarantined,
            data.quarantine_thumbnails.images,
            data.quarantine_thumbnails.missing,
        ),
        lineage=sections.lineage(data.facts, data.document),
        data=_script_data(points, codes, fit),
        script=script,
    )
    files = {"scatter.png": scatter, "variance.png": variance.png}
    return Report(html, files | ({"drift.png": drift.png} if drift else {}))


def _entries(labels: Sequence[str]) -> tuple[list[str], NDArray[np.uint32]]:
    """Return the entries in the list of labels, sorted, and the index of the entry of each point.

    The last entry stands for all labels that exceed `_MAX_LABELS`: those with the fewest points.
    """
    counts = Counter(labels)
    entries = sorted(label for label, _ in counts.most_common(_MAX_LABELS))
    code_of = {label: code for code, label in enumerate(entries)}
    codes = [code_of.get(label, len(entries)) for label in labels]
    if len(counts) > len(entries):
        entries.append(f"({format_count(len(counts) - len(entries), 'other label')})")
    return entries, np.array(codes, dtype=np.uint32)


def _title(data: ReportData) -> str:
    """Return the number of images, their source and the date, as far as they are given."""
    source = f" of {display_locations(data.source)}" if data.source else ""
    date = f", {data.created_at:%Y-%m-%d}" if data.created_at else ""
    count = data.points.total
    return f"{format_count(count, 'image')}{source}{date}"


def _read_resource(name: str) -> str:
    return resources.files("batch_pca.report").joinpath("page", name).read_text(encoding="utf-8")


def _content_security_policy(script: str) -> str:
    """Return a policy that allows only embedded images, embedded styles, and this script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def _script_data(points: Points, codes: NDArray[np.uint32], fit: Reduction) -> str:
    """Return the points for the script as JSON with compressed arrays."""
    # Shuffled, so that no label covers all others.
    order = np.random.default_rng(0).permutation(len(codes))
    paths = [points.paths[i] for i in order]
    columns = np.asarray(points.scores, dtype="<f4")[order].T
    thumbnails = {
        index: f"data:image/jpeg;base64,{base64.b64encode(points.thumbnails[path]).decode()}"
        for index, path in enumerate(paths)
        if path in points.thumbnails
    }
    document = {
        "count": len(order),
        "ratios": fit.explained_variance_ratio[: len(columns)].tolist(),
        "scores": _compress(np.ascontiguousarray(columns).tobytes()),
        "codes": _compress(codes[order].astype("<u4").tobytes()),
        # escape_text replaces line breaks, so "\n" separates the paths.
        "paths": _compress("\n".join(escape_text(display_locations(p)) for p in paths).encode()),
        "thumbnails": thumbnails,
    }
    return json.dumps(document).replace("<", "\\u003c")


def _compress(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
