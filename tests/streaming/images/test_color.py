"""Tests for `streaming.images.color`: orientation, bit depth, color modes and animations.

The expected pixels are computed with Pillow and NumPy. Transparency is tested in `test_color_alpha.py`.
"""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from streaming.images import color
from streaming.images.decode import decode
from support.images.image_files import RAW, SIDE, as_rgb, decode_pixels, encode, photo

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # from Pillow, for invalid metadata


@pytest.fixture(autouse=True, params=[color.STRIP_PIXELS, 500], ids=["whole", "in strips"])
def strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test without strips, and with strips of 500 pixels."""
    monkeypatch.setattr(color, "STRIP_PIXELS", request.param)


@pytest.fixture(scope="module")
def ramp() -> npt.NDArray[np.uint16]:
    """Return gray levels from 0 to 65535 in equal steps, shape (SIDE, SIDE)."""
    return np.linspace(0, 65535, SIDE * SIDE).round().astype(np.uint16).reshape(SIDE, SIDE)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encode(photo().crop((0, 0, 64, 40)), name, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    decoded = decode(content, RAW)
    assert (decoded.width, decoded.height) == ((64, 40) if orientation < 5 else (40, 64))
    expected = np.asarray(upright.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decoded.pixels, expected)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_invalid_exif_is_ignored(name: str) -> None:
    rng = np.random.default_rng(3)
    expected = decode_pixels(encode(photo(), name))
    for length in (*range(1, 12), 20, 200):
        for start in (b"", b"MM\0*\0\0\0\x08"[:length]):
            exif = b"Exif\0\0" + start + rng.bytes(length)
            np.testing.assert_array_equal(decode_pixels(encode(photo(), name, exif=exif)), expected)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_16_bit_gray_is_scaled_not_clipped(ramp: npt.NDArray[np.uint16], name: str) -> None:
    image = Image.fromarray(ramp)
    assert image.mode == "I;16"
    np.testing.assert_array_equal(decode_pixels(encode(image, name)), as_rgb(ramp / 257))


def test_16_bit_gray_of_big_endian_and_white_is_zero_tiff(ramp: npt.NDArray[np.uint16]) -> None:
    big = Image.frombytes("I;16B", (SIDE, SIDE), ramp.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode_pixels(encode(big, "TIFF")), as_rgb(ramp / 257))
    inverted = encode(Image.fromarray(ramp), "TIFF", tiffinfo={262: 0})
    assert Image.open(io.BytesIO(inverted)).tag_v2[262] == 0
    np.testing.assert_array_equal(
        decode_pixels(inverted), as_rgb((65535 - ramp.astype(float)) / 257)
    )


@pytest.mark.parametrize(
    ("low", "high", "bottom", "top"),
    [
        (0.0, 1.0, 0.0, 1.0),
        (0.0, 200.0, 0.0, 255.0),
        (10.0, 60_000.0, 0.0, 65535.0),
        (-5.0, 5.0, -5.0, 5.0),
        (0.0, 1e30, 0.0, 1e30),
    ],
)
def test_float_gray_uses_smallest_common_range(
    low: float, high: float, bottom: float, top: float
) -> None:
    values = np.linspace(low, high, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    pixels = decode_pixels(encode(Image.fromarray(values), "TIFF"))
    expected = 255 * (values.astype(float) - bottom) / (top - bottom)
    assert np.abs(pixels - expected[..., None]).max() <= 0.501


def test_float_gray_without_contrast_or_finite_values_is_converted() -> None:
    values = np.full((SIDE, SIDE), 0.5, dtype=np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    pixels = decode_pixels(encode(Image.fromarray(values), "TIFF"))
    assert pixels[0, :3, 0].tolist() == [0, 255, 0]
    assert set(pixels[1:].ravel()) == {128}
    for constant in (np.nan, -7.0, 1e9):
        decode_pixels(encode(Image.fromarray(np.full_like(values, constant)), "TIFF"))


def test_32_bit_gray_is_scaled_as_16_bit_or_stretched(
    ramp: npt.NDArray[np.uint16],
) -> None:
    values = ramp.astype(np.int32)
    np.testing.assert_array_equal(
        decode_pixels(encode(Image.fromarray(values), "TIFF")), as_rgb(ramp / 257)
    )
    dark = encode(Image.fromarray(values // 300), "TIFF")
    np.testing.assert_array_equal(decode_pixels(dark), as_rgb(ramp // 300 / 257))
    far = encode(Image.fromarray(values + 2 * 10**9), "TIFF")
    np.testing.assert_array_equal(decode_pixels(far), as_rgb(ramp / 257))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_opaque_modes_use_pillow_conversion(mode: str) -> None:
    content = encode(photo().convert(mode), "TIFF")
    opened = Image.open(io.BytesIO(content))
    assert opened.mode == mode
    np.testing.assert_array_equal(decode_pixels(content), np.asarray(opened.convert("RGB")))


def test_cmyk_tiff_and_inverted_cmyk_jpeg_resemble_rgb() -> None:
    for name in ("TIFF", "JPEG"):
        pixels = decode_pixels(encode(photo().convert("CMYK"), name, quality=95))
        assert np.abs(pixels.astype(int) - np.asarray(photo())).mean() < 6


def test_lab_resembles_rgb() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(photo(), *profiles, outputMode="LAB")
    assert np.abs(decode_pixels(encode(lab, "TIFF")).astype(int) - np.asarray(photo())).mean() < 3


def test_first_frame_of_animation_is_used() -> None:
    others = [ImageOps.invert(photo()), ImageOps.mirror(photo())]
    for name, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("GIF", {})):
        content = encode(photo(), name, save_all=True, append_images=others, **options)
        opened = Image.open(io.BytesIO(content))
        assert opened.n_frames == 3
        np.testing.assert_array_equal(decode_pixels(content), np.asarray(opened.convert("RGB")))
        assert np.abs(decode_pixels(content).astype(int) - np.asarray(photo())).mean() < 15


def test_smaller_gif_frame_is_placed_on_white() -> None:
    frame = photo(40, 24).quantize(64)
    content = bytearray(encode(frame, "GIF"))
    content[6:10] = struct.pack("<HH", SIDE, SIDE)
    start = 13 + (3 << (content[10] & 7) + 1)
    start = content.index(b",", start)
    content[start + 1 : start + 5] = struct.pack("<HH", 10, 20)
    expected = np.full((SIDE, SIDE, 3), 255, np.uint8)
    expected[20:44, 10:50] = np.asarray(frame.convert("RGB"))
    np.testing.assert_array_equal(decode_pixels(bytes(content)), expected)
    first_color = frame.getpalette()[:3]
    assert decode_pixels(bytes(content), revision=2)[0, 0].tolist() == first_color


XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_in_xmp_is_ignored_from_revision_3_on(name: str) -> None:
    image = photo(SIDE, SIDE // 2)
    if name == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        content = encode(image, name, pnginfo=info)
        chunk = content[33 : content.index(b"IDAT") - 4]  # the same after the pixels
        late = content[:33] + content[33 + len(chunk) : -12] + chunk + content[-12:]
        contents = [content, late]
    elif name == "TIFF":
        contents = [
            encode(image, name, tiffinfo={700: XMP}, compression=c) for c in (None, "tiff_lzw")
        ]
    else:
        contents = [encode(image, name, xmp=XMP)]
    for content in contents:
        decoded = decode(content, RAW)
        assert (decoded.width, decoded.height) == image.size
        former = decode(content, replace(RAW, revision=2))
        assert (former.width, former.height) == image.size[::-1]
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        if name in ("JPEG", "WEBP"):
            both = decode(encode(image, name, xmp=XMP, exif=exif), RAW)
            assert (both.width, both.height) == image.size[::-1]
