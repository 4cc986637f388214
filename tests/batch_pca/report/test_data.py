"""What the page of a refit tells of the lake: as delta-rs, hashlib and Pillow read the same."""

from __future__ import annotations

import base64
import hashlib
import io
import json
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
from batch_pca.report.data import write_report
from streaming.lake.layout import Lake
from support.feature_lakes import LABELS, WRITTEN, images
from support.report_pages import Page, packed

pytestmark = pytest.mark.slow  # matplotlib draws for seconds

MOVED = {LABELS[1]: 1.25, LABELS[0]: 0.5}
DRIFT: dict[str, Any] = {
    "drift_from": "r-1",
    "drift_angle": 21.5,
    "drift_largest_angle": 80.0,
    "drift_shift": 0.625,
    "drift_labels": json.dumps(MOVED),
    "drift_exceeded": "subspace rotated by 21.5° (limit 15°)",
}


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (8 * number, 200, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Story:
    """A lake of 30 images that lie where their paths say, and the pages of two refits of them."""

    lake: Lake
    paths: list[str]
    reduction: Reduction
    scores: Any
    refits: tuple[RefitRow, RefitRow]

    def file(self, which: int, name: str) -> Path:
        return Path(self.refits[which].folder.uri.removeprefix("file:"), name)

    def html(self, which: int) -> str:
        return self.file(which, "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("reporting")
    lake = Lake.at(str(place / "lake"))
    rows = images(30, 1, f"file:{place}/photos")
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
    reduction = fit(Moments.of(rows.vectors, rows.vectors[0]), FitOptions(components=3))
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
    for made, earlier in ((first, [other]), (second, [other, first])):
        if earlier[1:]:
            reasons = pa.table({"reason": ["empty", "corrupt", "corrupt"]})
            deltalake.write_deltalake(lake.quarantine.removeprefix("file:"), reasons)
        folder = create_folder(lake, made.refit_id)
        write_lineage(folder, made, sample.csv_sha256)
        write_report(folder, made, sample, reduction, earlier)
    return Story(lake, rows.paths, reduction, scores, (first, second))


def test_the_first_refit_has_nothing_to_be_compared_with(story: Story) -> None:
    assert "No refit yet of an earlier version to compare with." in Page(story.html(0)).cells
    assert not story.file(0, "drift.png").exists()


def test_drift_is_told_as_the_table_of_refits_keeps_it(story: Story) -> None:
    page = Page(story.html(1))
    said = " ".join(page.cells)
    assert (
        "turned by 21.5° and moved by 0.62 standard deviations, its furthest label by 1.25" in said
    )
    at = page.cells.index("limits passed")
    expected = ["r-2", "0", "30", "3", f"{sum(story.refits[1].explained_variance_ratio):.1%}"]
    expected += ["21.5°", "0.62", DRIFT["drift_exceeded"], "r-1"]
    assert page.cells[at + 1 : at + 10] == expected
    assert "r-0" not in page.cells  # of another model: not to be compared
    at = page.cells.index("standard deviations")
    assert page.cells[at + 1 : at + 5] == [LABELS[1], "1.25", LABELS[0], "0.50"]
    assert Image.open(story.file(1, "drift.png")).format == "PNG"


def test_the_quarantine_is_counted_by_reason(story: Story) -> None:
    page = Page(story.html(1))
    assert page.after("corrupt") == "2"
    assert page.after("empty") == "1"
    assert "Nothing is known of a quarantine." in Page(story.html(0)).cells


def test_the_lineage_leads_from_the_csv_to_the_version(story: Story) -> None:
    page = Page(story.html(1))
    assert page.after("reduced.csv") == "SHA-256 c5f"
    assert page.after("Features") == f"version 0 of {WRITTEN:%Y-%m-%d %H:%M:%S} UTC"
    assert page.after("Model") == "made-up"
    assert page.after("Weights") == "unknown: the lake no longer contains the metadata of the model"
    assert page.after("Parameters") == "components 3"
    assert page.after("Rows") == "30 transformed, 30 fitted"
    document = story.file(1, "refit.json").read_text(encoding="utf-8").strip()
    assert document in page.cells


def test_every_image_is_a_point_under_its_path_with_its_picture(story: Story) -> None:
    data = packed(story.html(1))
    paths = data["paths"].decode().split("\n")
    number = {path.replace("\n", "\\n"): i for i, path in enumerate(story.paths)}
    assert sorted(paths) == sorted(number)
    scores = np.frombuffer(data["scores"], "<f4").reshape(3, 30).T
    expected = story.scores[[number[path] for path in paths]]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert len(data["pictures"]) == 30
    for place, source in data["pictures"].items():
        content = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        red, green, _ = Image.open(io.BytesIO(content)).getpixel((48, 48))
        assert abs(red - 8 * number[paths[int(place)]]) < 8
        assert abs(green - 200) < 8
