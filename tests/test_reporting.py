"""What the page of a refit tells of the lake: as delta-rs, hashlib and Pillow read the same."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from features_rows import WRITTEN, Images, images, new_lake, refit_rows
from lake_rows import append, quarantine_row
from PIL import Image
from test_report import Page, packed

from batch_pca.catalog import PublishedRefit
from batch_pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from streaming.commit import Writer
from streaming.lake import Lake, create_table
from streaming.schemas import QUARANTINE
from streaming.storage import StoredFile

pytestmark = pytest.mark.spark


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (8 * number, 200, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def commit(spark: Any, lake: Lake, rows: Images) -> None:
    """Append rows of images that lie where their paths say."""
    hashes = []
    for number, path in enumerate(rows.paths):
        place = Path(path.removeprefix("file:"))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(number))
        hashes.append(hashlib.sha256(png(number)).hexdigest())
    table = rows.table()
    place = table.schema.get_field_index("content_hash")
    table = table.set_column(place, "content_hash", pa.array(hashes))
    Writer(spark, lake.features, {"source": "file:/photos"}).upsert(
        spark.createDataFrame(table), known=False
    )


@dataclass
class Story:
    """A lake of two refits, the second of it after a shift; and its page."""

    lake: Lake
    refits: tuple[PublishedRefit, PublishedRefit]
    rows: tuple[Images, Images]

    def file(self, which: int, name: str) -> Path:
        return Path(self.refits[which].folder.uri.removeprefix("file:"), name)

    def html(self, which: int) -> str:
        return self.file(which, "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def story(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("reporting")
    lake = new_lake(spark, place / "lake")
    create_table(spark, lake.quarantine, QUARANTINE)
    first, more = images(30, 1, f"file:{place}/a"), images(20, 2, f"file:{place}/b")
    options = RefitOptions(FitOptions(components=3))
    commit(spark, lake, first)
    one = refit(lake.root, options)
    commit(spark, lake, Images(more.paths, more.labels, more.vectors * np.float32(1.5)))
    broken = [
        quarantine_row(StoredFile(f"file:/photos/Fig/{number}.jpg", 5, 1), WRITTEN)
        | {"reason": reason}
        for number, reason in enumerate(["empty", "corrupt", "corrupt"])
    ]
    append(spark, lake.quarantine, QUARANTINE.ddl, broken)
    return Story(lake, (one, refit(lake.root, options)), (first, more))


def test_the_first_refit_has_nothing_to_be_compared_with(story: Story) -> None:
    assert "No refit yet of an earlier version to compare with." in Page(story.html(0)).cells
    assert not story.file(0, "drift.png").exists()


def test_drift_is_told_as_the_table_of_refits_keeps_it(story: Story) -> None:
    page = Page(story.html(1))
    row = refit_rows(story.lake)[story.refits[1].refit_id]
    moved = json.loads(row["drift_labels"])
    said = " ".join(page.cells)
    assert f"turned by {row['drift_angle']:.1f}°" in said
    assert f"moved by {row['drift_shift']:.2f} standard deviations" in said
    assert f"furthest label by {max(moved.values()):.2f}" in said
    at = page.cells.index("limits passed")
    told = page.cells[at + 1 :]
    version = str(row["features_version"])
    assert told[:4] == [story.refits[1].refit_id, version, "50", "3"]
    assert row["drift_passed"] in told
    assert Image.open(story.file(1, "drift.png")).format == "PNG"


def test_the_quarantine_is_counted_by_reason(story: Story) -> None:
    page = Page(story.html(1))
    assert page.after("corrupt") == "2"
    assert page.after("empty") == "1"
    assert "No image was in quarantine when this page was made." in Page(story.html(0)).cells


def test_the_lineage_leads_from_the_csv_to_the_version(story: Story) -> None:
    page = Page(story.html(1))
    digest = hashlib.sha256(story.file(1, "reduced.csv").read_bytes()).hexdigest()
    assert page.after("reduced.csv") == f"SHA-256 {digest}"
    assert page.after("Features").startswith(f"version {story.refits[1].features_version} of ")
    assert page.after("Model") == "made-up"
    document = story.file(1, "refit.json").read_text(encoding="utf-8").strip()
    assert document in page.cells


def test_every_image_is_a_point_under_its_path_with_its_picture(story: Story) -> None:
    data = packed(story.html(1))
    paths = data["paths"].decode().split("\n")
    number = {p.replace("\n", "\\n"): i for r in story.rows for i, p in enumerate(r.paths)}
    assert sorted(paths) == sorted(number)
    rows = pyarrow.parquet.read_table(story.file(1, "parquet")).to_pylist()
    reduced = {row["path"].replace("\n", "\\n"): row["reduced"] for row in rows}
    scores = np.frombuffer(data["scores"], "<f4").reshape(3, 50).T
    np.testing.assert_allclose(scores, [reduced[path] for path in paths], rtol=1e-5)
    assert len(data["pictures"]) == 50
    for place, source in data["pictures"].items():
        content = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        red, green, _ = Image.open(io.BytesIO(content)).getpixel((48, 48))
        assert abs(red - 8 * number[paths[int(place)]]) < 8
        assert abs(green - 200) < 8
