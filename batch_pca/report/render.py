"""Render the HTML report of a refit: scatter plot, explained variance, drift, quarantine.

One HTML file that works offline: plots, styles and its script are embedded, and a content security policy forbids
loading anything else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch_pca.pca.fit import Reduction
from batch_pca.report import plots, sections
from batch_pca.report.scatter import scatter as scatter_plot
from streaming.sanitize import escape_html, escape_text

Rows = Sequence[Sequence[object]]


@dataclass(frozen=True, eq=False)
class Points:
    """A sample of the reduced rows, in any order.

    Attributes
    ----------
    paths, labels : sequence of m str
    scores : ndarray of shape (m, c)
        On the first c components, 1 or more; ValueError where the three do not fit.
    total : int
        Rows that it is a sample of.
    pictures : mapping of str to bytes
        JPEG files of some of the images, by path.
    """

    paths: Sequence[str]
    labels: Sequence[str]
    scores: NDArray[Any]
    total: int
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        count, shape = len(self.labels), self.scores.shape
        if (
            not count
            or len(self.paths) != count
            or len(shape) != 2
            or shape[0] != count
            or not shape[1]
        ):
            raise ValueError(f"points of shape {shape} do not fit {count} labels")


@dataclass(frozen=True, eq=False)
class ReportData:
    """What a page shows.

    Attributes
    ----------
    refit_id, lake : str
    reduction : Reduction
    points : Points
    facts : sequence of (str, str)
        Where it comes from, name and value.
    document : str
        The same for programs, as JSON; may be empty.
    moves : sequence of plots.Movement
        How the refits up to this one have moved, oldest first; those that had one to be compared with.
    refits : sequence of rows of text
        The refits up to this one, the latest first, below a row of headings.
    label_shifts : mapping of str to float
        How far each label has moved since the refit before, in standard deviations, the furthest first.
    quarantine : mapping of str to int, or None
        Images in quarantine by reason; None where nothing is known of it.
    """

    refit_id: str
    lake: str
    reduction: Reduction
    points: Points
    facts: Sequence[tuple[str, str]] = ()
    document: str = ""
    moves: Sequence[plots.Movement] = ()
    refits: Rows = ()
    label_shifts: Mapping[str, float] = field(default_factory=dict)
    quarantine: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Report:
    """A page, and its plots as PNG files by name."""

    html: str
    plots: dict[str, bytes]


def render(data: ReportData) -> Report:
    """Draw ``scatter.png``, ``variance.png`` and where refits have moved ``drift.png``, and write the page."""
    points, fit = data.points, data.reduction
    labels = sorted(set(points.labels))
    places = {label: place for place, label in enumerate(labels)}
    codes = np.array([places[label] for label in points.labels], dtype=np.uint32)
    scatter = scatter_plot(labels, codes, points.scores, fit.explained_variance_ratio)
    variance = plots.variance(fit)
    drift = plots.drift(data.moves) if data.moves else None
    script = _part("report.js")
    page = Template(_part("report.html")).substitute(
        policy=_policy(script),
        title=escape_html(f"Reduction {data.refit_id}"),
        style=_part("report.css"),
        lake=escape_html(data.lake),
        cards=sections.cards(fit, points.total),
        sampled=f"{len(codes):,} of {points.total:,} rows, {len(labels):,} labels",
        scatter=sections.picture(scatter, "Scores on the first components, marked by label"),
        marks=sections.marks(labels, codes),
        middles=sections.middles(labels, codes, points.scores),
        many=sections.how_many(fit, variance.svg),
        drift=sections.drifted(
            data.moves, data.refits, data.label_shifts, drift.svg if drift else None
        ),
        quarantine=sections.quarantined(data.quarantine),
        lineage=sections.lineage(data.facts, data.document),
        data=_packed(points, codes, fit),
        script=script,
    )
    files = {"scatter.png": scatter, "variance.png": variance.png}
    return Report(page, files | ({"drift.png": drift.png} if drift else {}))


def _part(name: str) -> str:
    return resources.files("batch_pca.report").joinpath("page", name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Allow the page nothing but the pictures, styles and the one script that are in it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def _packed(points: Points, codes: NDArray[np.uint32], fit: Reduction) -> str:
    """The points for the script, as JSON in which the arrays are packed."""
    # Shuffled, so that no label lies on top of all others.
    order = np.random.default_rng(0).permutation(len(codes))
    paths = [points.paths[i] for i in order]
    columns = np.asarray(points.scores, dtype="<f4")[order].T
    pictures = {
        place: f"data:image/jpeg;base64,{base64.b64encode(points.pictures[path]).decode()}"
        for place, path in enumerate(paths)
        if path in points.pictures
    }
    document = {
        "count": len(order),
        "shares": fit.explained_variance_ratio[: len(columns)].tolist(),
        "scores": _pack(np.ascontiguousarray(columns).tobytes()),
        "codes": _pack(codes[order].astype("<u4").tobytes()),
        "paths": _pack(
            "\n".join(map(escape_text, paths)).encode()
        ),  # no line break is left in them
        "pictures": pictures,
    }
    return json.dumps(document).replace("<", "\\u003c")


def _pack(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
