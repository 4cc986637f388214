"""Tests for `batch_pca.report.data`: the report of a lake, compared with delta-rs, hashlib and Pillow."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from batch_pca.pca.fit import FitOptions, Reduction, fit
from batch_pca.pca.moments import Moments
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.folder import create_folder
from batch_pca.refits.label_means import LabelSums
from batch_pca.refits.lineage import write_lineage
from batch_pca.refits.vectors import Sample
from batch_pca.report.data import find_source, write_report
from batch_pca.report.markers import marker_style
from streaming.lake.layout import Lake
from streaming.sanitize import escape_html
from streaming.sources.selection import Selection, write_selection
from support.lakes.feature_lakes import LABELS, WRITTEN, images
from support.pages.report_pages import Page, packed

pytestmark = pytest.mark.slow  # matplotlib takes seconds

SHIFTS = {LABELS[1]: 1.25, LABELS[0]: 0.5}
DRIFT: dict[str, Any] = {
    "drift_from": "r-1",
    "drift_angle": 21.5,
    "drift_shift": 0.625,
    "drift_labels": json.dumps(SHIFTS),
    "drift_exceeded": "correlation matrix rotated by 21.5° (threshold 15°)",
    "drift_new_labels": '{"Fig": 7}',
    "drift_limits": '{"angle": 15, "shift": 0.7, "label": 2}',
}


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (8 * number, 200, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Reports:
    """A lake of 30 images whose files exist, and the reports of two refits."""

    lake: Lake
    paths: list[str]
    reduction: Reduction
    scores: Any
    refits: tuple[RefitRow, RefitRow]

    def file(self, index: int, name: str) -> Path:
        return Path(self.refits[index].folder.uri.removeprefix("file:"), name)

    def html(self, index: int) -> str:
        return self.file(index, "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    folder = tmp_path_factory.mktemp("reporting")
    lake = Lake.at(str(folder / "lake"))
    rows = images(30, 1, f"file:{folder}/photos")
    hashes = []
    for number, path in enumerate(rows.paths):
        photo = Path(path.removeprefix("file:"))
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(png(number))
        hashes.append(hashlib.sha256(png(number)).hexdigest())
    table = rows.table()
    table = table.set_column(
        table.schema.names.index("content_hash"), "content_hash", pa.array(hashes)
    )
    deltalake.write_deltalake(lake.features.removeprefix("file:"), table)
    write_selection(lake.sources, f"file:{folder}/photos", Selection())
    reduction = fit(Moments.from_rows(rows.vectors, rows.vectors[0]), FitOptions(components=3))
    scores = reduction.transform(rows.vectors)
    first = RefitRow(
        refit_id="r-1",
        lake=lake,
        features_version=0,
        features_timestamp=WRITTEN,
        model_id="made-up",
        parameters=json.dumps({"components": 3, "variance": None, "fit_on": None}),
        rows=30,
        rows_fitted=30,
        explained_variance_ratio=tuple(reduction.explained_variance_ratio[:3]),
        created_at=WRITTEN,
        pomona_version="0",
        statistics="full",
    )
    other = replace(first, refit_id="r-0", model_id="another")
    second = replace(first, refit_id="r-2", **DRIFT)
    sample = Sample(rows.paths, rows.labels, scores, "c5f", LabelSums())
    for row, earlier in ((first, [other]), (second, [other, first])):
        if earlier[1:]:
            reasons = pa.table(
                {
                    "path": ["file:/p/a.jpg", "file:/p/<b>.jpg", "file:/p/c.jpg"],
                    "reason": ["empty", "corrupt", "corrupt"],
                    "detail": ["0 bytes", "ends after <half>", "no image"],
                    "content_hash": pa.array([None, "0" * 64, "0" * 64], pa.string()),
                }
            )
            deltalake.write_deltalake(lake.quarantine.removeprefix("file:"), reasons)
        with create_folder(lake, row.refit_id) as refit_folder:
            write_lineage(refit_folder, row, sample.csv_sha256)
            write_report(refit_folder, row, sample, reduction, earlier)
    return Reports(lake, rows.paths, reduction, scores, (first, second))


def test_report_of_first_refit_has_no_drift(reports: Reports) -> None:
    assert (
        "There is no refit of an earlier version to compare with yet."
        in Page(reports.html(0)).cells
    )
    assert not reports.file(0, "drift.png").exists()


def test_report_contains_drift_of_the_row(reports: Reports) -> None:
    page = Page(reports.html(1))
    text = " ".join(page.cells)
    assert (
        "rotated by 21.5°, mean shifted by 0.62 standard deviations, largest label shift 1.25"
        in text
    )
    start = page.cells.index("thresholds exceeded") + 1
    expected = ["r-2", "0", "30", "3", f"{sum(reports.refits[1].explained_variance_ratio):.1%}"]
    expected += ["21.5°", "0.62", DRIFT["drift_exceeded"], "r-1"]
    assert page.cells[start : start + 9] == expected
    assert "r-0" not in page.cells  # another model
    start = page.cells.index("standard deviations") + 1
    assert page.cells[start : start + 4] == [LABELS[1], "1.25", LABELS[0], "0.50"]
    assert page.after("Fig") == "7"
    # A chart of a single refit would be empty.
    assert not reports.file(1, "drift.png").exists()


def test_title_contains_number_of_images_source_and_date(reports: Reports) -> None:
    source = reports.paths[0].rsplit("/", 2)[0].removeprefix("file:")
    title = f"30 images of {source}, {WRITTEN:%Y-%m-%d}"
    assert Page(reports.html(1)).cells.count(title) == 2  # the title of the window and the heading
    assert {"r-2", reports.lake.root.removeprefix("file:")} <= set(Page(reports.html(1)).cells)


@pytest.mark.parametrize(
    ("paths", "source"),
    [
        (["file:/photos/Fig/1.jpg"], "file:/photos"),
        (["file:/photos/Fig/1.jpg", "file:/photos/Kiwi/1.jpg"], "file:/photos"),
        (["s3a://b/Fig/1.jpg", "s3a://b/Test/Fig/1.jpg"], "s3a://b"),
        (["s3a://b/Test/Fig/1.jpg", "s3a://b/Training/Fig/1.jpg"], "s3a://b"),
        (["s3a://b/a/Test/1.jpg", "s3a://b/ab/Test/1.jpg"], "s3a://b"),
        (["s3a://one/Fig/1.jpg", "s3a://other/Fig/1.jpg"], ""),
        (["s3a://b/Fig/1.jpg", "file:/b/Fig/1.jpg"], ""),
        (["file:/Fig/1.jpg"], ""),
    ],
)
def test_source_is_the_deepest_folder_of_all_label_folders(paths: list[str], source: str) -> None:
    assert find_source(paths) == source


def test_colors_continue_those_of_the_previous_refit(reports: Reports, tmp_path: Path) -> None:
    def colors(index: int) -> dict[str, object]:
        found = re.findall(
            r'color="(#\w+)" aria-hidden="true"><path d="([^"]+)"/></svg><bdi>([^<]+)',
            reports.html(index),
        )
        return {label: (color, path) for color, path, label in found}

    order = json.loads(reports.file(0, "label_order.json").read_text())
    assert order == sorted(LABELS)
    before = colors(1)
    assert before == colors(0)
    assert len(before) == len(LABELS)
    # In this order, the labels of the next refit have other colors than in the order of their names.
    first, second = reports.refits
    reports.file(1, "label_order.json").write_text("not JSON")
    reports.file(0, "label_order.json").write_text(json.dumps(["gone", *order]))
    rows = Sample(reports.paths, images(30, 1).labels, reports.scores, "c5f", LabelSums())
    write_report(second.folder, second, rows, reports.reduction, [first, second])
    after = colors(1)
    styles = [marker_style(1 + index) for index in range(len(order))]
    assert after == {
        escape_html(label): (style.color, style.path)
        for label, style in zip(order, styles, strict=True)
    }


def test_unusual_images_are_listed_with_thumbnails_of_unchanged_files(reports: Reports) -> None:
    tags = Page(reports.html(1)).tags
    shown = [attrs["alt"] for tag, attrs in tags if tag == "img" and "jpeg" in str(attrs["src"])]
    paths = {path.removeprefix("file:").replace("\n", "\\n") for path in reports.paths}
    assert len(shown) >= 20
    assert set(shown) <= paths


def test_report_counts_quarantine_by_reason(reports: Reports) -> None:
    page = Page(reports.html(1))
    assert page.after("corrupt") == "2"
    start = page.cells.index("Quarantined images") + 1
    outside = "no thumbnail: outside of the sources"
    assert page.cells[start : start + 3] == [outside, "corrupt", "ends after <half>"]
    assert page.cells[start + 8 : start + 11] == [
        "no thumbnail: content was not read",
        "empty",
        "0 bytes",
    ]
    assert page.after("empty") == "1"
    assert "The lake has no quarantine table." in Page(reports.html(0)).cells


def test_report_contains_lineage(reports: Reports) -> None:
    page = Page(reports.html(1))
    assert page.after("reduced.csv") == "SHA-256 c5f"
    assert page.after("Features") == f"version 0 of {WRITTEN:%Y-%m-%d %H:%M:%S} UTC"
    assert page.after("Model") == "made-up"
    assert page.after("Weights") == "unknown: the lake no longer contains the metadata of the model"
    assert page.after("Parameters") == "components 3"
    assert page.after("Rows") == "30 transformed, 30 fitted"
    document = reports.file(1, "refit.json").read_text(encoding="utf-8").strip()
    assert document in page.cells


def test_every_image_is_a_point_with_path_and_thumbnail(reports: Reports) -> None:
    data = packed(reports.html(1))
    paths = data["paths"].decode().split("\n")
    shown = (path.removeprefix("file:").replace("\n", "\\n") for path in reports.paths)
    number = {path: i for i, path in enumerate(shown)}
    assert sorted(paths) == sorted(number)
    scores = np.frombuffer(data["scores"], "<f4").reshape(3, 30).T
    expected = reports.scores[[number[path] for path in paths]]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert len(data["thumbnails"]) == 30
    for index, source in data["thumbnails"].items():
        content = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        red, green, _ = Image.open(io.BytesIO(content)).getpixel((48, 48))
        assert abs(red - 8 * number[paths[int(index)]]) < 8
        assert abs(green - 200) < 8


def test_matplotlibrc_of_the_current_directory_has_no_effect(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 40\nfigure.facecolor: none of them\n")
    program = (
        "from batch_pca.report.data import matplotlib_defaults\n"
        "with matplotlib_defaults():\n"
        "    import matplotlib; print(matplotlib.rcParams['font.size'])\n"
        "print(matplotlib.rcParams['font.size'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("10.0\n40.0\n", "")
