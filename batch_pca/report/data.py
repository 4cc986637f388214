"""Collect the data of a refit's report from the lake and from earlier refits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from batch_pca.pca.fit import Reduction
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.drift import describe_drift
from batch_pca.refits.folder import RefitFolder
from batch_pca.refits.lineage import FILE
from batch_pca.refits.vectors import Sample
from batch_pca.report.thumbnails import choose, load_thumbnails
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
    folder: RefitFolder,
    made: RefitRow,
    sample: Sample,
    reduction: Reduction,
    earlier: Sequence[RefitRow],
) -> None:
    """Write ``report.html`` and its plots.

    Parameters
    ----------
    folder : RefitFolder
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
    pictures = load_thumbnails(lake, made.features_version, choose(sample.paths, sample.labels))
    alike = [one for one in earlier if (one.model_id, one.fit_on) == (made.model_id, made.fit_on)]
    latest = [*alike, made][-_LATEST:]
    document = folder.read(FILE).decode()
    report = render(
        ReportData(
            made.refit_id,
            lake.root,
            reduction,
            Points(sample.paths, sample.labels, sample.points, made.rows, pictures),
            facts=lineage_facts(made, json.loads(document)),
            document=document,
            moves=[Movement(*_moved(one)) for one in latest if one.drift_from is not None],
            refits=(_HEAD, *map(_row, reversed(latest))),
            label_shifts=made.label_shifts,
            quarantine=_quarantine(lake),
        )
    )
    folder.write("report.html", report.html.encode())
    for name, png in report.plots.items():
        folder.write(name, png)


def lineage_facts(row: RefitRow, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values for the lineage section.

    Parameters
    ----------
    row : RefitRow
    document : mapping
        The content of the refit's ``refit.json``.
    """
    options = {
        name: value for name, value in json.loads(row.parameters).items() if value is not None
    }
    model = document["model"]
    weights = (
        f"{model['weights']}, SHA-256 {model['weights_sha256']}"
        if model
        else "unknown: the lake no longer contains the metadata of the model"
    )
    statistics = row.statistics or ""
    if row.statistics_from:
        statistics += f", based on refit {row.statistics_from}"
    return [
        (
            "Features",
            f"version {row.features_version} of {row.features_timestamp:%Y-%m-%d %H:%M:%S} UTC",
        ),
        ("Rows", f"{row.rows:,} transformed, {row.rows_fitted:,} fitted"),
        ("Model", row.model_id),
        ("Parameters", ", ".join(f"{name} {value}" for name, value in options.items())),
        ("Drift", describe_drift(row)),
        ("Created", f"{row.created_at:%Y-%m-%d %H:%M:%S} UTC by Pomona {row.pomona_version}"),
        ("Weights", weights),
        ("Statistics", statistics),
        ("reduced.csv", f"SHA-256 {document['csv_sha256']}"),
    ]


def _moved(made: RefitRow) -> tuple[str, float, float, float, bool]:
    """Version, degrees, deviations of the mean and of the furthest label, and whether a limit was passed."""
    return (
        f"v{made.features_version}",
        made.drift_angle or 0.0,
        made.drift_shift or 0.0,
        max(made.label_shifts.values(), default=0.0),
        made.drift_exceeded is not None,
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
        made.drift_exceeded or "",
    )


def _quarantine(lake: Lake) -> dict[str, int] | None:
    if not is_table(lake.quarantine):
        return None
    rows = query_rows(open_table(lake.quarantine), "reason, count(*) AS images", "GROUP BY reason")
    return {row["reason"]: row["images"] for row in rows}
