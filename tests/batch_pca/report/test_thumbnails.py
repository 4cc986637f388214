"""Tests for `batch_pca.report.thumbnails`, on a table written by delta-rs."""

from __future__ import annotations

import hashlib
import io
import time
from collections import Counter
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from batch_pca.report import thumbnails
from batch_pca.report.thumbnails import (
    MAX_THUMBNAILS,
    choose_thumbnails,
    load_quarantined,
    load_thumbnails,
)
from streaming.lake.layout import Lake
from streaming.sources.selection import Selection, write_selection


def photo(color: str, size: tuple[int, int] = (120, 60)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def create_lake(folder: Path, contents: dict[str, bytes]) -> Lake:
    """Create a lake of these images, which are stored in a folder next to it."""
    lake = Lake.at(str(folder / "lake"))
    for name, content in contents.items():
        file = folder / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    table = pa.table(
        {
            "path": [f"file:{folder}/photos/{name}" for name in contents],
            "content_hash": [hashlib.sha256(content).hexdigest() for content in contents.values()],
            "length": pa.array(map(len, contents.values()), pa.int64()),
        }
    )
    deltalake.write_deltalake(lake.features.removeprefix("file:"), table)
    write_selection(lake.sources, f"file:{folder}/photos", Selection())
    return lake


def test_thumbnail_is_a_small_jpeg_of_the_image(tmp_path: Path) -> None:
    lake = create_lake(tmp_path, {"O'Neil/a.png": photo("#ff0000"), "b/b.png": photo("#0000ff")})
    paths = [f"file:{tmp_path}/photos/{name}" for name in ("O'Neil/a.png", "b/b.png")]
    thumbnails_by_path = load_thumbnails(lake, 0, paths).images
    assert list(thumbnails_by_path) == paths
    for path, color in zip(paths, ((255, 0, 0), (0, 0, 255)), strict=True):
        thumbnail = Image.open(io.BytesIO(thumbnails_by_path[path]))
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (96, 96))
        assert np.abs(np.asarray(thumbnail, dtype=int) - color).max() < 8
        assert len(thumbnails_by_path[path]) < 4000


def test_missing_changed_broken_and_large_images_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("intact", "missing", "changed", "broken", "large")
    contents = {f"Fig/{name}.png": photo("#00ff00", (9 + i, 9)) for i, name in enumerate(names)}
    contents["Fig/broken.png"] = b"\x89PNG not a PNG file"
    contents["Fig/large.png"] += bytes(10_000)
    monkeypatch.setattr(thumbnails, "_MAX_FILE_SIZE", 9_000)
    lake = create_lake(tmp_path, contents)
    (tmp_path / "photos/Fig/missing.png").unlink()
    (tmp_path / "photos/Fig/changed.png").write_bytes(photo("#123456"))
    paths = [f"file:{tmp_path}/photos/{name}" for name in contents]
    found = load_thumbnails(lake, 0, paths)
    assert list(found.images) == paths[:1]
    assert found.missing == dict(
        zip(
            paths[1:],
            (
                "no such file",
                "content changed",
                "cannot be decoded (unidentified)",
                "larger than 9,000 bytes",
            ),
            strict=True,
        )
    )
    assert load_thumbnails(lake, 0, []) == thumbnails.Thumbnails()


def test_rows_with_foreign_paths_have_no_thumbnail(tmp_path: Path) -> None:
    lake = create_lake(tmp_path, {"Fig/a.png": photo("#00ff00"), "Fig/b.png": photo("#0000ff")})
    photos = tmp_path / "photos"
    (photos / "Fig").rename(tmp_path / "private")
    (photos / "Fig").symlink_to(tmp_path / "private")
    planted = pa.table(
        {
            "path": [f"file:{tmp_path}/private/a.png", "gs://elsewhere/a.png"],
            "content_hash": [hashlib.sha256(photo("#00ff00")).hexdigest()] * 2,
            "length": pa.array([9, 9], pa.int64()),
        }
    )
    deltalake.write_deltalake(lake.features.removeprefix("file:"), planted, mode="append")
    paths = [f"file:{photos}/Fig/b.png", *planted["path"].to_pylist()]
    found = load_thumbnails(lake, 1, paths)
    assert found.images == {}
    assert found.missing == dict.fromkeys(paths, "outside of the sources")


def test_quarantined_images_are_decoded_as_far_as_possible(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    pixels[:80] = (255, 0, 0)
    Image.fromarray(pixels).save(buffer, "PNG")
    contents = {
        "Fig/half.png": buffer.getvalue()[: len(buffer.getvalue()) // 2],
        "Fig/none.jpg": b"no image",
        "Fig/changed.png": photo("#00ff00"),
    }
    lake = create_lake(tmp_path, contents)
    (tmp_path / "photos/Fig/changed.png").write_bytes(photo("#123456"))
    paths = [f"file:{tmp_path}/photos/{name}" for name in contents]
    hashes = [hashlib.sha256(content).hexdigest() for content in contents.values()]
    unread, private = f"file:{tmp_path}/photos/Fig/unread.png", f"file:{tmp_path}/private.png"
    (tmp_path / "private.png").write_bytes(contents["Fig/half.png"])
    rows = dict(zip(paths, hashes, strict=True)) | {unread: None, private: hashes[0]}
    found = load_quarantined(lake, rows)
    assert list(found.images) == paths[:1]
    top = np.asarray(Image.open(io.BytesIO(found.images[paths[0]])), dtype=int)[:30]
    assert np.abs(top - (255, 0, 0)).max() < 20
    assert found.missing == {
        paths[1]: "cannot be decoded (unidentified)",
        paths[2]: "content changed",
        unread: "content was not read",
        private: "outside of the sources",
    }
    # Only quarantined images are decoded in part.
    assert load_thumbnails(lake, 0, paths[:1]).missing == {
        paths[0]: "cannot be decoded (truncated)"
    }


def test_unresponsive_storage_does_not_delay_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = create_lake(tmp_path, {"Fig/a.png": photo("#00ff00")})
    monkeypatch.setattr(thumbnails, "_TIMEOUT", 0.1)
    monkeypatch.setattr("streaming.images.display.open_storage", lambda path: time.sleep(2))
    started = time.monotonic()
    path = f"file:{tmp_path}/photos/Fig/a.png"
    assert load_thumbnails(lake, 0, [path]).missing == {path: "not read in time"}
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("labels", [1, 2, 24, 131, MAX_THUMBNAILS, 1000])
def test_thumbnails_are_chosen_evenly_up_to_the_maximum(labels: int) -> None:
    paths = [f"file:/{number:05}" for number in range(5000)]
    labels_of = [f"label {number % labels}" for number in range(5000)]
    chosen = choose_thumbnails(paths, labels_of)
    counts = Counter(labels_of[paths.index(path)] for path in chosen)
    assert len(chosen) == len(set(chosen)) <= MAX_THUMBNAILS
    assert len(counts) == min(labels, len(chosen))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(chosen) > MAX_THUMBNAILS // 3
    assert choose_thumbnails([], []) == []
