"""Tests for `streaming.images.resize`: large JPEGs decoded at reduced resolution look like fully decoded ones.

The reference is Pillow at full resolution. The images are larger than in the tests of the decoder.
"""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageOps

from streaming.images.decode import DECODER_REVISION, DecodeSettings, decode
from streaming.images.resize import MIN_DRAFT_FACTOR, resize_to_square
from streaming.model.backends import Backend
from streaming.outcomes import Reason
from support.images.image_files import encode, photo, reason_of
from support.lakes import real_model

SIDE = 96  # instead of 224, for speed
RAW = DecodeSettings(SIDE, divisor=1.0, offset=0.0)
SMALL = DecodeSettings(16, divisor=1.0, offset=0.0)
MIN_REDUCED_SIDE = 2 * MIN_DRAFT_FACTOR * SIDE  # smaller images are decoded at full resolution
PHOTOS = ["china", "flower"]
ENCODINGS: dict[str, dict[str, object]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:0": {"subsampling": 2},
    "progressive": {"subsampling": 1, "progressive": True},
    "gray": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
}


@cache
def large(name: str, width: int, height: int) -> Image.Image:
    """Return an image of this size, tiled from a photograph and its mirror images at original sharpness."""
    from sklearn.datasets import load_sample_images

    sample = Image.fromarray(load_sample_images().images[PHOTOS.index(name)])
    row = np.hstack([np.asarray(sample), np.asarray(ImageOps.mirror(sample))])
    tile = np.vstack([row, row[::-1]])
    times = (height // tile.shape[0] + 1, width // tile.shape[1] + 1, 1)
    return Image.fromarray(np.tile(tile, times)[:height, :width])


def jpeg(image: Image.Image, mode: str = "RGB", **options: object) -> bytes:
    return encode(image.convert(mode), "JPEG", **{"quality": 90, **options})


def full_resolution(content: bytes, side: int = SIDE) -> npt.NDArray[np.int16]:
    """Return the pixels that Pillow decodes at full resolution and resizes."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    return np.asarray(upright.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)


def difference(content: bytes, settings: DecodeSettings = RAW) -> npt.NDArray[np.float32]:
    """Return the absolute difference of each value, in 0..255."""
    return np.abs(decode(content, settings).pixels - full_resolution(content, settings.size))


def decoded_size(content: bytes, side: int) -> tuple[int, int]:
    """Return the size at which the file is decoded."""
    image = Image.open(io.BytesIO(content))
    resize_to_square(image, side, DECODER_REVISION)
    return image.size


@pytest.mark.parametrize(
    ("size", "reduced"),
    [
        ((127, 400), (127, 400)),
        ((400, 127), (400, 127)),
        ((128, 400), (64, 200)),
        ((255, 401), (128, 201)),
        ((256, 256), (64, 64)),
        ((513, 700), (65, 88)),
        ((1030, 530), (129, 67)),
    ],
)
def test_jpeg_is_reduced_to_at_least_four_times_the_target(
    size: tuple[int, int], reduced: tuple[int, int]
) -> None:
    assert decoded_size(jpeg(photo(*size)), SMALL.size) == reduced


def test_other_images_equal_pillow_resize() -> None:
    for size in ((MIN_REDUCED_SIDE - 1, 900), (900, MIN_REDUCED_SIDE - 1)):
        assert difference(jpeg(large("china", *size))).max() == 0
    for name in ("PNG", "WEBP", "TIFF"):
        assert difference(encode(photo(300, 200), name), SMALL).max() == 0


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize(
    "size",
    [
        (MIN_REDUCED_SIDE, MIN_REDUCED_SIDE),
        (1029, 775),
        (2 * MIN_REDUCED_SIDE + 3, 2 * MIN_REDUCED_SIDE),
    ],
)
def test_reduced_photograph_resembles_full_resolution(
    name: str, size: tuple[int, int], encoding: str
) -> None:
    content = jpeg(large(name, *size), **ENCODINGS[encoding])
    assert decoded_size(content, SIDE)[0] < size[0]
    found = difference(content)
    assert found.mean() < 0.5
    assert found.max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduction_does_not_shift_image(orientation: int) -> None:
    """Use waves in sizes not divisible by any reduction: a shift by a tenth of a pixel would fail."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for width, height in ((391, 801), (801, 391), (257, 257)):
        y, x = np.mgrid[0:height, 0:width]
        waves = 127 + 120 * np.sin(40 * x / width) * np.cos(40 * y / height)
        content = jpeg(Image.fromarray(waves.astype(np.uint8)), "L", quality=95, exif=exif)
        assert decoded_size(content, 32)[0] < width
        assert difference(content, DecodeSettings(32, divisor=1.0, offset=0.0)).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reported_size_is_full_size_as_displayed(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    decoded = decode(jpeg(photo(301, 150), exif=exif), SMALL)
    assert (decoded.width, decoded.height) == ((301, 150) if orientation < 5 else (150, 301))


def checkerboard(pitch: int, first: str, second: str) -> Image.Image:
    image = Image.new("RGB", (MIN_REDUCED_SIDE + 7, MIN_REDUCED_SIDE), first)
    y, x = np.mgrid[0:MIN_REDUCED_SIDE, 0 : MIN_REDUCED_SIDE + 7]
    image.paste(
        second, mask=Image.fromarray(((x // pitch + y // pitch) % 2 * 255).astype(np.uint8))
    )
    return image


def text() -> Image.Image:
    image = Image.new("L", (MIN_REDUCED_SIDE, MIN_REDUCED_SIDE), 255)
    line = "".join(map(chr, range(33, 127))) * 4
    for y in range(0, MIN_REDUCED_SIDE, 14):
        ImageDraw.Draw(image).text((-y, y), line * 2, fill=0)
    return image.convert("RGB")


@pytest.mark.parametrize(
    "make_pattern",
    [
        *(
            lambda pitch=pitch: checkerboard(pitch, "black", "white")
            for pitch in (1, 2, 3, 5, 8, 11)
        ),
        *(lambda pitch=pitch: checkerboard(pitch, "red", "blue") for pitch in (1, 3, 8)),
        lambda: Image.effect_noise((MIN_REDUCED_SIDE, MIN_REDUCED_SIDE), 200).convert("RGB"),
        pytest.param(text, marks=pytest.mark.slow),
    ],
)
def test_adversarial_patterns_stay_within_wider_bound(make_pattern: object) -> None:
    assert callable(make_pattern)
    for subsampling in (0, 2):
        found = difference(jpeg(make_pattern(), subsampling=subsampling))
        assert found.mean() < 5
        assert found.max() <= 16


def lossless(width: int, height: int) -> bytes:
    """Return a lossless JPEG of uniform gray: each value equals its prediction, encoded as one 0 bit."""
    frame = struct.pack(">HHBHHBBBB", 0xFFC3, 11, 8, height, width, 1, 1, 0x11, 0)
    table = struct.pack(">HHB16sB", 0xFFC4, 20, 0, bytes([1] + 15 * [0]), 0)
    scan = struct.pack(">HHBBBBBB", 0xFFDA, 8, 1, 1, 0, 1, 0, 0)
    return b"\xff\xd8" + frame + table + scan + bytes(width * height // 8) + b"\xff\xd9"


def test_lossless_jpeg_is_decoded_at_full_resolution() -> None:
    content = lossless(160, 128)
    np.testing.assert_array_equal(np.unique(full_resolution(content)), [128])
    decoded = decode(content, SMALL)
    np.testing.assert_array_equal(np.unique(decoded.pixels), [128])
    assert (decoded.width, decoded.height) == (160, 128)


def test_large_truncated_jpeg_is_reported_as_truncated() -> None:
    for options in ({}, {"progressive": True}):
        content = jpeg(photo(400, 300), **options)
        for cut in range(700, len(content) - 2, len(content) // 30):
            assert reason_of(content[:cut], SMALL) is Reason.TRUNCATED


def test_large_mpo_uses_first_image() -> None:
    content = encode(photo(300, 200), "MPO", save_all=True, append_images=[photo(200, 200)])
    assert decoded_size(content, SMALL.size) == (150, 100)
    assert difference(content, SMALL).mean() < 0.5


@pytest.mark.slow
def test_features_of_reduced_photograph_match_full_resolution(shared: Path) -> None:
    network = real_model.engine(
        Backend("onnxruntime", "cpu", "float32"), str(real_model.weights_file(shared))
    )
    settings = DecodeSettings(divisor=1.0, offset=0.0)
    for name in PHOTOS:
        content = jpeg(large(name, 2001, 1799))
        scaled = (
            np.stack([full_resolution(content, 224), decode(content, settings).pixels]) / 127.5 - 1
        )
        full, reduced = network.run(scaled.astype(np.float32)).astype(np.float64)
        cosine = full @ reduced / np.linalg.norm(full) / np.linalg.norm(reduced)
        assert cosine >= 0.999
