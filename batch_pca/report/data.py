"""Collect the data of a refit's report from the lake and from earlier refits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from batch_pca.pca.fit import Reduction
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.folder import Folder
from batch_pca.refits.lineage import FILE
from batch_pca.refits.vectors import Sample
from batch_pca.report.thumbnails import choose, small_pictures
from streaming.delta.reader import open_table, query_rows
from streaming.delta.tables import is_table
from streaming.lake.layout import Lake

#: Refits that are listed and plotted, the latest so many.
_LATEST = 30
_HEAD = (
    "refit",
    "of version",
    "rows",
    "components",
    "explained",
    "turned",
    "moved",
    "limits passed",
)


def write_report(
    folder: Folder,
    made: RefitRow,
    sample: Sample,
    reduction: Reduction,
    earlier: Sequence[RefitRow],
) -> None:
    """Write ``report.html`` and its plots.

    Parameters
    ----------
    folder : Folder
        Of `made`, which is not published yet; its ``refit.json`` is written.
    made : RefitRow
    sample : Sample
        Of its rows.
    reduction : Reduction
    earlier : sequence of RefitRow
        All of the lake.
    """
    # matplotlib takes a second to import, and each Python worker imports this package.
    from batch_pca.report.plots import Movement
    from batch_pca.report.render import Points, ReportData, render

    lake = made.lake
    pictures = small_pictures(lake, made.features_version, choose(sample.paths, sample.labels))
    alike = [one for one in earlier if (one.model_id, one.fit_on) == (made.model_id, made.fit_on)]
    latest = [*alike, made][-_LATEST:]
    document = folder.read(FILE).decode()
    report = render(
        ReportData(
            made.refit_id,
            lake.root,
            reduction,
            Points(sample.paths, sample.labels, sample.points, made.rows, pictures),
            facts=(*made.facts, *_origin(json.loads(document))),
            document=document,
            moves=[Movement(*_moved(one)) for one in latest if one.drift_from is not None],
            refits=(_HEAD, *map(_row, reversed(latest))),
            labels_moved=made.labels_moved,
            quarantine=_quarantine(lake),
        )
    )
    folder.write("report.html", report.html.encode())
    for name, png in report.plots.items():
        folder.write(name, png)


def _origin(told: dict[str, Any]) -> list[tuple[str, str]]:
    """What ``refit.json`` knows beside the facts of a refit."""
    model = told["model"]
    weights = (
        f"{model['weights']}, SHA-256 {model['weights_sha256']}"
        if model
        else "the lake holds no description of the model"
    )
    source = f", from those of {told['statistics_from']}" if told["statistics_from"] else ""
    return [
        ("Weights", weights),
        ("Statistics", f"{told['statistics']}{source}"),
        ("reduced.csv", f"SHA-256 {told['csv_sha256']}"),
    ]


def _moved(made: RefitRow) -> tuple[str, float, float, float, bool]:
    """Version, degrees, deviations of the mean and of the furthest label, and whether a limit was passed."""
    return (
        f"v{made.features_version}",
        made.drift_angle or 0.0,
        made.drift_shift or 0.0,
        max(made.labels_moved.values(), default=0.0),
        made.drift_passed is not None,
    )


def _row(made: RefitRow) -> tuple[str, ...]:
    compared = made.drift_from is not None
    return (
        made.refit_id,
        str(made.features_version),
        f"{made.rows:,}",
        f"{made.components:,}",
        f"{made.explained:.1%}",
        f"{made.drift_angle:.1f}°" if compared else "",
        f"{made.drift_shift:.2f}" if compared else "",
        made.drift_passed or "",
    )


def _quarantine(lake: Lake) -> dict[str, int] | None:
    if not is_table(lake.quarantine):
        return None
    rows = query_rows(open_table(lake.quarantine), "reason, count(*) AS images", "GROUP BY reason")
    return {row["reason"]: row["images"] for row in rows}
