"""Collect the data of a refit's report from the lake and from earlier refits."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from batch_pca.pca.fit import Reduction
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.drift import describe_drift, drift_of, exceeded_thresholds
from batch_pca.refits.folder import RefitFolder
from batch_pca.refits.lineage import LINEAGE_FILE
from batch_pca.refits.vectors import Sample
from batch_pca.report.markers import extend_order
from batch_pca.report.outliers import NotableImage, find_notable_images
from batch_pca.report.thumbnails import (
    Thumbnails,
    choose_thumbnails,
    load_quarantined,
    load_thumbnails,
)
from streaming.delta.reader import open_table, query_rows
from streaming.delta.tables import is_table
from streaming.errors import LakeError
from streaming.lake.layout import Lake
from streaming.storage.documents import InvalidDocumentError, parse_document
from streaming.storage.interface import TransientError

if TYPE_CHECKING:
    from batch_pca.report.plots import DriftPoint

log = logging.getLogger(__name__)

# Number of latest refits in the table and in the drift plot.
_MAX_REFITS = 30
# File of a refit with the labels in the order of their first appearance in the refits of the lake.
_LABEL_ORDER = "label_order.json"
# Number of latest refits to search for it: a refit of an earlier version of Pomona, or a deleted folder, lacks it.
_MAX_SEARCHED = 5
_MAX_QUARANTINED = 50
_HEADINGS = (
    "refit",
    "features version",
    "rows",
    "components",
    "explained variance",
    "correlation rotation",
    "mean shift",
    "thresholds exceeded",
)


def write_report(
    folder: RefitFolder,
    row: RefitRow,
    sample: Sample,
    reduction: Reduction,
    earlier: Sequence[RefitRow],
) -> None:
    """Write ``report.html`` and its plots.

    Parameters
    ----------
    folder : RefitFolder
        Folder of the refit, which already contains ``refit.json``.
    row : RefitRow
        The refit, which is not published yet.
    sample : Sample
    reduction : Reduction
    earlier : sequence of RefitRow
        All refits of the lake.
    """
    lake = row.lake
    chosen = choose_thumbnails(sample.paths, sample.labels)
    notable = find_notable_images(sample.paths, sample.labels, sample.points)
    listed = [image.path for image in (*notable.unusual, *notable.disagreeing)]
    chosen = list(dict.fromkeys([*listed, *chosen]))
    thumbnails = load_thumbnails(lake, row.features_version, chosen)
    comparable = [r for r in earlier if (r.model_id, r.fit_on) == (row.model_id, row.fit_on)]
    latest = [*comparable, row][-_MAX_REFITS:]
    document = folder.read(LINEAGE_FILE).decode()
    quarantine, quarantined, quarantine_thumbnails = _read_quarantine(lake)
    order = extend_order(_read_label_order(earlier), {*sample.sums.counts, *sample.labels})
    folder.write(_LABEL_ORDER, json.dumps(order).encode())
    with matplotlib_defaults():
        from batch_pca.report.render import Points, ReportData, render

        report = render(
            ReportData(
                refit_id=row.refit_id,
                lake=lake.root,
                reduction=reduction,
                points=Points(
                    sample.paths,
                    sample.labels,
                    sample.points,
                    row.rows,
                    thumbnails.images,
                    thumbnails.missing,
                ),
                facts=lineage_facts(row, json.loads(document)),
                document=document,
                drift_history=[_drift_point(r) for r in _series(earlier, row)],
                refits=(_HEADINGS, *map(_table_row, reversed(latest))),
                label_shifts=row.label_shifts,
                new_labels=row.new_labels,
                vanished_labels=row.vanished_labels,
                quarantine=quarantine,
                quarantined=quarantined,
                quarantine_thumbnails=quarantine_thumbnails,
                source=find_source(sample.paths),
                created_at=row.created_at,
                label_order=order,
                notable=notable,
            )
        )
    folder.write("report.html", report.html.encode())
    for name, png in report.plots.items():
        folder.write(name, png)


@contextmanager
def matplotlib_defaults() -> Iterator[None]:
    """Use the default settings of Matplotlib; it reads a ``matplotlibrc``, first that of the current directory."""
    # It logs warnings for invalid settings, and for a home folder that is not writable.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib  # takes a second, and each Python worker imports this package

    defaults = dict(matplotlib.rcParamsDefault)
    del defaults["backend"]  # a notebook has chosen one
    with matplotlib.rc_context(defaults):
        yield


def _read_label_order(earlier: Sequence[RefitRow]) -> list[str]:
    """Return the order of labels that the latest refit has written; empty if there is none.

    Colors are no reason for a refit to fail, so a file that cannot be read is skipped.
    """
    for row in [*reversed(earlier)][:_MAX_SEARCHED]:
        try:
            order: list[str] = parse_document(row.folder.read(_LABEL_ORDER), [str])
            return list(dict.fromkeys(order))
        except (OSError, TransientError, LakeError, InvalidDocumentError) as error:
            log.debug("no order of labels in %s: %s", row.folder.uri, error)
    return []


def find_source(paths: Sequence[str]) -> str:
    """Return the deepest folder that contains the label folders of all images.

    The result is empty if the images have no common folder, as with images of several buckets. It is derived from the
    paths: the commits of the lake name the latest source only, and those of other writers name none.
    """
    folders = [path.rstrip("/").split("/")[:-2] for path in paths]
    first, last = min(folders), max(folders)
    common = [
        name
        for name, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    ]
    source = "/".join(common).rstrip("/")
    return "" if source.endswith(":") else source


def _series(earlier: Sequence[RefitRow], row: RefitRow) -> list[RefitRow]:
    """Return the latest refits whose drift the plot shows: those that are compared with each other, and this one.

    Refits of earlier versions of Pomona are left out: their angle is another measure.
    """
    key = (row.model_id, row.parameters)
    scheduled = [
        r for r in earlier if (r.model_id, r.parameters) == key and r.scheduled is not False
    ]
    return [r for r in (*scheduled, row) if drift_of(r)][-_MAX_REFITS:]


def lineage_facts(row: RefitRow, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values for the lineage section.

    Parameters
    ----------
    row : RefitRow
    document : mapping
        The content of the refit's ``refit.json``.
    """
    options = {name: value for name, value in row.parse("parameters").items() if value is not None}
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


def _drift_point(row: RefitRow) -> DriftPoint:
    from batch_pca.report.plots import DriftPoint

    return DriftPoint(
        name=f"v{row.features_version}",
        angle=row.drift_angle or 0.0,
        shift=row.drift_shift or 0.0,
        label_shift=max(row.label_shifts.values(), default=0.0),
        exceeded=frozenset(exceeded_thresholds(row)),
    )


def _table_row(row: RefitRow) -> tuple[str, ...]:
    has_drift = row.drift_from is not None
    return (
        row.refit_id,
        str(row.features_version),
        f"{row.rows:,}",
        f"{row.components:,}",
        f"{row.explained:.1%}",
        f"{row.drift_angle:.1f}°" if has_drift else "",
        f"{row.drift_shift:.2f}" if has_drift else "",
        row.drift_exceeded or "",
    )


def _read_quarantine(
    lake: Lake,
) -> tuple[dict[str, int] | None, list[NotableImage], Thumbnails]:
    """Count the quarantined images by reason, and list some with reason, detail and thumbnail.

    The counts are None if the lake has no quarantine table.
    """
    if not is_table(lake.quarantine):
        return None, [], Thumbnails()
    table = open_table(lake.quarantine)
    counts = query_rows(table, "reason, count(*) AS images", "GROUP BY reason")
    clauses = f"ORDER BY reason, path LIMIT {_MAX_QUARANTINED}"
    rows = query_rows(table, "path, reason, detail, content_hash", clauses)
    return (
        {row["reason"]: row["images"] for row in counts},
        [NotableImage(row["path"], row["reason"], row["detail"] or "") for row in rows],
        load_quarantined(lake, {row["path"]: row["content_hash"] for row in rows}),
    )
