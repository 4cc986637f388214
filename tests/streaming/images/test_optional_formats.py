"""Tests for `streaming.images.optional_formats`: HEIF and JPEG XL, with and without their packages."""

from __future__ import annotations

import io
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from streaming.images.decode import IMAGE_SUFFIXES, UndecodableImage, decode
from streaming.images.optional_formats import read_jxl_size
from streaming.outcomes import Reason
from support.images.icc_profiles import DISPLAY_P3, SRGB_CURVE, encode_srgb, matrix_profile
from support.images.image_files import (
    RAW,
    SIDE,
    decode_pixels,
    encode,
    over_white,
    photo,
    reason_of,
)

# The import of one package, and this call of the other, register their encoders.
pytest.importorskip("pillow_jxl")
pytest.importorskip("pillow_heif").register_heif_opener()

LOSSLESS = {"HEIF": {"quality": -1, "chroma": 444}, "JXL": {"lossless": True}}


def encoded(name: str, image: Image.Image | None = None, **options: object) -> bytes:
    """Return a file of 64 x 64 pixels, compressed without loss."""
    return encode(photo() if image is None else image, name, **(LOSSLESS[name] | options))


def rotated() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif.tobytes()


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "I;16"])
def test_pixels_are_those_that_were_encoded(name: str, mode: str) -> None:
    gray = np.asarray(photo().convert("L"))
    if mode == "I;16":
        image = Image.fromarray(gray * np.uint16(257))
        # The encoder of JPEG XL takes 16-bit gray for linear.
        level = gray if name == "HEIF" else encode_srgb(gray / 255)
        expected = np.repeat(level[..., None], 3, 2)
    else:
        image = photo().convert(mode)
        expected = np.asarray(image.convert("RGB"))
    if mode in ("RGBA", "LA"):
        alpha = photo().getchannel("G")
        image.putalpha(alpha)
        expected = over_white(np.dstack([expected, alpha]))
    decoded = decode(encoded(name, image), RAW)
    assert (decoded.format, decoded.width, decoded.height) == (name, SIDE, SIDE)
    assert np.abs(decoded.pixels - expected).max() <= 1


def test_rotated_heic_is_upright() -> None:
    wide = photo(SIDE, 32)
    decoded = decode(encoded("HEIF", wide, exif=rotated()), RAW)
    assert (decoded.width, decoded.height) == (32, SIDE)
    upright = wide.transpose(Image.Transpose.ROTATE_270)
    expected = upright.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert np.abs(decoded.pixels - np.asarray(expected)).max() <= 2


def test_exif_does_not_rotate_jpeg_xl() -> None:
    np.testing.assert_array_equal(
        decode_pixels(encoded("JXL", exif=rotated())), np.asarray(photo())
    )


def test_jpeg_that_was_stored_as_jpeg_xl_has_the_same_pixels(tmp_path: Path) -> None:
    jpeg = encode(photo(), "JPEG", exif=rotated())
    (tmp_path / "photo.jpg").write_bytes(jpeg)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), Image.open(tmp_path / "photo.jpg") as image:
        warnings.simplefilter("ignore")
        image.save(buffer, "JXL", lossless_jpeg=True)
    np.testing.assert_array_equal(decode_pixels(buffer.getvalue()), decode_pixels(jpeg))


def test_display_p3_heic_is_converted_like_png() -> None:
    profile = matrix_profile(DISPLAY_P3, SRGB_CURVE)
    content = encoded("HEIF", icc_profile=profile)
    plain = Image.fromarray(decode_pixels(content, revision=2))
    expected = decode_pixels(encode(plain, "PNG", icc_profile=profile))
    np.testing.assert_array_equal(decode_pixels(content), expected)
    assert (expected != np.asarray(plain)).any()


@pytest.mark.parametrize("name", LOSSLESS)
def test_size_is_checked_before_pixels_are_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(name)
    decoders = {
        "HEIF": "pillow_heif.as_plugin.HeifImageFile.load",
        "JXL": "pillow_jxl.JpegXLImagePlugin.JXLImageFile",
    }
    monkeypatch.setattr(decoders[name], lambda *_args: pytest.fail("decoded"))
    with pytest.raises(UndecodableImage, match="64 x 64 = 4,096 pixels") as error:
        decode(content, replace(RAW, max_pixels=4095))
    assert error.value.reason is Reason.TOO_MANY_PIXELS


def test_heif_with_a_wrong_size_in_its_header_is_corrupt() -> None:
    content = encode(Image.new("RGB", (600, 600)), "HEIF")
    at = content.index(b"ispe") + 8
    small = content[:at] + (8).to_bytes(4, "big") * 2 + content[at + 8 :]
    assert reason_of(small, replace(RAW, memory_headroom=2**24)) is Reason.CORRUPT


@pytest.mark.parametrize(
    "size", [(1, 1), (7, 300), (256, 256), (400, 300), (1920, 1080), (9000, 8), (640, 480)]
)
def test_size_of_jpeg_xl_is_read_from_its_header(size: tuple[int, int]) -> None:
    for container in (False, True):
        content = encode(Image.new("L", size), "JXL", use_container=container, effort=1)
        assert read_jxl_size(content) == size


@pytest.mark.parametrize(
    "content",
    [encoded("HEIF"), encoded("JXL", use_container=True)],
    ids=["HEIF", "JPEG XL in a container"],
)
def test_incomplete_file_is_truncated(content: bytes) -> None:
    for length in (40, len(content) // 2, len(content) - 1):
        assert reason_of(content[:length]) is Reason.TRUNCATED


def test_damaged_jpeg_xl_is_corrupt() -> None:
    content = bytearray(encoded("JXL"))
    content[4000:4060] = bytes(60)
    assert reason_of(bytes(content)) is Reason.CORRUPT


@pytest.mark.parametrize(
    ("name", "package", "format_name"),
    [("HEIF", "pillow_heif", "HEIC"), ("JXL", "pillow_jxl", "JPEG XL")],
)
def test_without_the_package_the_detail_names_the_extra(
    name: str, package: str, format_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(name)
    monkeypatch.setitem(sys.modules, package, None)  # the import fails
    extra = {"HEIF": "heif", "JXL": "jxl"}[name]
    expected = f"a {format_name} image needs an extra: pip install 'pomona\\[{extra}\\]'"
    with pytest.raises(UndecodableImage, match=expected) as error:
        decode(content, RAW)
    assert error.value.reason is Reason.UNSUPPORTED


def test_heif_with_another_compression_is_unsupported() -> None:
    content = encoded("HEIF").replace(b"heix", b"avci").replace(b"heic", b"avci")
    assert reason_of(content) is Reason.UNSUPPORTED


def test_suffixes_of_phones_are_images() -> None:
    assert {"heic", "heif", "hif", "jxl"} <= set(IMAGE_SUFFIXES)
