"""Tests for `streaming.images.display`: which images of a table are shown, and the reasons for the others."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streaming.images.display import ImageViewer, NotDisplayed
from streaming.images.isolated_decode import IsolatedDecoder
from support.lakes.small_lakes import GARBAGE, jpeg, put

SHA256 = hashlib.sha256(jpeg()).hexdigest()


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedDecoder]:
    with IsolatedDecoder() as decoder:
        yield decoder


@pytest.fixture
def viewer(tmp_path: Path, decoder: IsolatedDecoder) -> ImageViewer:
    """Return a viewer of the source `photos`; beside it, `private` has the same images."""
    for folder in ("photos", "photos-private", "private"):
        put(tmp_path / folder / "Fig" / "a.jpg", jpeg())
    return ImageViewer([f"file:{tmp_path}/photos"], decoder, size=32, max_bytes=100_000)


def reason(viewer: ImageViewer, path: str, content_hash: str = SHA256) -> str:
    with pytest.raises(NotDisplayed) as error:
        viewer.load(path, content_hash)
    return str(error.value)


def test_image_below_source_with_hash_of_row_is_shown(tmp_path: Path, viewer: ImageViewer) -> None:
    put(tmp_path / "photos" / "inner.jpg", jpeg())
    (tmp_path / "photos" / "link.jpg").symlink_to("inner.jpg")
    for name in ("Fig/a.jpg", "link.jpg"):
        picture = Image.open(io.BytesIO(viewer.load(f"file:{tmp_path}/photos/{name}", SHA256)))
        expected = Image.open(io.BytesIO(jpeg())).convert("RGB").resize((32, 32), 3)
        assert picture.format == "JPEG"
        assert np.abs(np.asarray(picture, int) - np.asarray(expected, int)).mean() < 12


@pytest.mark.parametrize(
    "path",
    [
        "file:{}/private/Fig/a.jpg",
        "file:{}/photos-private/Fig/a.jpg",
        "file:{}/photos/../private/Fig/a.jpg",
        "file:{}/photos/./Fig/a.jpg",
        "file:{}/photos//Fig/a.jpg",
        "file://{}/photos/Fig/a.jpg",
        "{}/photos/Fig/a.jpg",
        "photos/Fig/a.jpg",
        "file:{}/photos",
        "file:{}/photos/a\0.jpg",
        "file:{}/none/a.jpg",
        "s3a://bucket/photos/Fig/a.jpg",
        "gs://bucket/a.jpg",
        "file:{}/photos/\ud800.jpg",
        "",
        None,
    ],
)
def test_path_outside_of_the_sources_is_not_opened(
    tmp_path: Path, viewer: ImageViewer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streaming.images.display.open_storage", lambda path: pytest.fail(path))
    assert reason(viewer, path and path.format(tmp_path)) == "outside of the sources"


def test_link_that_leads_out_of_the_source_is_not_followed(
    tmp_path: Path, viewer: ImageViewer
) -> None:
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "private" / "Fig" / "a.jpg")
    (tmp_path / "photos" / "folder").symlink_to(tmp_path / "private")
    for name in ("link.jpg", "folder/Fig/a.jpg"):
        assert reason(viewer, f"file:{tmp_path}/photos/{name}") == "outside of the sources"


def test_reasons_of_other_images(tmp_path: Path, viewer: ImageViewer) -> None:
    photos = tmp_path / "photos"
    path = f"file:{photos}/Fig/a.jpg"
    for content_hash in ("0" * 64, "", None, SHA256.upper()):
        assert reason(viewer, path, content_hash) == "content changed"
    assert reason(viewer, f"file:{photos}/Fig/b.jpg") == "no such file"
    assert reason(viewer, f"file:{photos}/Fig") == "no such file"
    os.mkfifo(photos / "fifo.jpg")
    assert reason(viewer, f"file:{photos}/fifo.jpg") == "no such file"
    put(photos / "long.jpg", bytes(100_001))
    assert reason(viewer, f"file:{photos}/long.jpg") == "larger than 100,000 bytes"
    put(photos / "damaged.jpg", GARBAGE)
    hash_of_damaged = hashlib.sha256(GARBAGE).hexdigest()
    problem = reason(viewer, f"file:{photos}/damaged.jpg", hash_of_damaged)
    assert problem == "cannot be decoded (truncated)"
    if os.geteuid():
        (photos / "Fig" / "a.jpg").chmod(0)
        assert reason(viewer, path) == "access denied"


def test_image_named_by_user_may_be_anywhere_but_must_have_its_hash(
    tmp_path: Path, viewer: ImageViewer
) -> None:
    path = f"file:{tmp_path}/private/Fig/a.jpg"
    assert viewer.load_named_by_user(path, SHA256)[:2] == b"\xff\xd8"
    with pytest.raises(NotDisplayed, match="content changed"):
        viewer.load_named_by_user(path, "0" * 64)
