"""Tests for `streaming.images.color_profile`, against the formulas of the profiles."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from PIL import Image, ImageCms

from streaming.images.color_profile import find_conversion
from streaming.images.decode import DECODER_REVISION
from support.images.icc_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    SRGB,
    SRGB_CURVE,
    Floats,
    cmyk_profile,
    cmyk_to_linear,
    decode_curve,
    encode_srgb,
    gray_profile,
    matrix_profile,
)
from support.images.image_files import SIDE, Pixels, decode_pixels, encode, over_white, photo

TOLERANCE = 3
#: Matrix, curve and name of RGB color spaces other than sRGB.
RGB_SPACES = {
    "Display P3": (DISPLAY_P3, SRGB_CURVE),
    "Adobe RGB": (ADOBE_RGB, 563 / 256),
    "linear": (SRGB, 1.0),
}
SRGB_PROFILES = {
    "matrix and curve": matrix_profile(SRGB, SRGB_CURVE),
    "of LittleCMS": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "named otherwise": matrix_profile(SRGB, SRGB_CURVE, "camera"),
}


def colors(channels: int) -> Pixels:
    """Return pixels with all combinations of a few values and random ones."""
    pixels = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, channels), dtype=np.uint8)
    few = np.array([0, 128, 255], np.uint8)
    corners = np.stack(np.meshgrid(*[few] * channels, indexing="ij"), -1).reshape(-1, channels)
    pixels.reshape(-1, channels)[: len(corners)] = corners
    return pixels


def converted(rgb: Floats, space: str) -> Floats:
    """Return sRGB values of RGB values (0..255) of a space of `RGB_SPACES`, by its formula."""
    matrix, curve = RGB_SPACES[space]
    linear = decode_curve(rgb / 255, curve) @ np.asarray(matrix).T
    return encode_srgb(linear @ np.linalg.inv(np.asarray(SRGB)).T)


def assert_close(actual: Pixels, expected: Floats, tolerance: float = TOLERANCE) -> None:
    assert np.abs(actual.astype(float) - expected).max() <= tolerance


@pytest.mark.parametrize("space", RGB_SPACES)
@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_rgb_profile_is_converted_to_srgb(space: str, name: str) -> None:
    matrix, curve = RGB_SPACES[space]
    lossless = name in ("PNG", "TIFF", "WEBP")
    image = Image.fromarray(colors(3)) if lossless else photo()
    options = {"lossless": True} if name == "WEBP" else {"quality": 95} if not lossless else {}
    plain = decode_pixels(encode(image, name, **options))
    profile = matrix_profile(matrix, curve)
    actual = decode_pixels(encode(image, name, icc_profile=profile, **options))
    assert_close(actual, converted(plain, space))
    assert np.abs(actual.astype(int) - plain).max() > 2 * TOLERANCE


def test_profile_of_jpeg_2000_is_converted_to_srgb() -> None:
    content = encode(photo(), "JPEG2000", irreversible=False)
    profile = matrix_profile(*RGB_SPACES["Adobe RGB"])
    header, color = content.index(b"jp2h") - 4, content.index(b"colr") - 4
    size = int.from_bytes(content[color : color + 4], "big")
    box = struct.pack(">I4s3s", 11 + len(profile), b"colr", b"\2\0\0") + profile
    length = int.from_bytes(content[header : header + 4], "big") + len(box) - size
    tagged = content[:header] + struct.pack(">I", length) + content[header + 4 : color] + box
    tagged += content[color + size :]
    assert_close(decode_pixels(tagged), converted(np.asarray(photo()), "Adobe RGB"))
    np.testing.assert_array_equal(decode_pixels(tagged, revision=2), np.asarray(photo()))


@pytest.mark.parametrize("name", ["TIFF", "JPEG"])
def test_cmyk_profile_is_converted_to_srgb(name: str) -> None:
    ramp = np.linspace(0, 255, SIDE).astype(np.uint8)
    smooth = np.stack(np.broadcast_arrays(ramp, ramp[:, None], ramp[::-1], ramp[:, None] // 4), -1)
    inks = colors(4) if name == "TIFF" else smooth
    image = Image.frombytes("CMYK", (SIDE, SIDE), inks.tobytes())
    options = {} if name == "TIFF" else {"quality": 100, "subsampling": 0}
    actual = decode_pixels(encode(image, name, icc_profile=cmyk_profile(), **options))
    assert_close(actual, encode_srgb(cmyk_to_linear(inks / 255)))


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("bits", [8, 16])
def test_gray_profile_is_converted_to_srgb(gamma: float, bits: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, SIDE * SIDE).round().reshape(SIDE, SIDE)
    image = Image.fromarray(ramp.astype(np.uint8 if bits == 8 else np.uint16))
    actual = decode_pixels(encode(image, "PNG", icc_profile=gray_profile(gamma)))
    assert_close(actual, encode_srgb((ramp / (2**bits - 1)) ** gamma)[..., None], 1)


def test_rgb_profile_of_gray_applies_to_equal_channels() -> None:
    gray = np.linspace(0, 255, SIDE * SIDE).astype(np.uint8).reshape(SIDE, SIDE)
    profile = matrix_profile(*RGB_SPACES["linear"])
    expected = converted(np.repeat(gray[..., None], 3, 2), "linear")
    for image in (Image.fromarray(gray), Image.fromarray(gray * np.uint16(257))):
        assert_close(decode_pixels(encode(image, "PNG", icc_profile=profile)), expected)


def test_colors_are_converted_before_alpha_is_composited() -> None:
    profile = matrix_profile(*RGB_SPACES["Adobe RGB"])
    rgba = colors(4)
    actual = decode_pixels(encode(Image.fromarray(rgba, "RGBA"), "PNG", icc_profile=profile))
    expected = np.dstack([converted(rgba[..., :3], "Adobe RGB"), rgba[..., 3]])
    assert_close(actual, over_white(expected))

    gray = rgba[..., [0, 3]]
    image = Image.fromarray(gray, "LA")
    actual = decode_pixels(encode(image, "PNG", icc_profile=gray_profile(1.8)))
    level = encode_srgb((gray[..., :1] / 255) ** 1.8)
    assert_close(actual, over_white(np.dstack([level, level, level, gray[..., 1]])))


def test_palette_is_converted_to_srgb() -> None:
    image = photo().quantize(32)
    profile = matrix_profile(*RGB_SPACES["Display P3"])
    actual = decode_pixels(encode(image, "PNG", icc_profile=profile))
    assert_close(actual, converted(np.asarray(image.convert("RGB")), "Display P3"))


def test_reduced_jpeg_is_converted_to_srgb() -> None:
    side = 8 * SIDE
    assert side >= 2 * 4 * SIDE  # decoded at half of its size
    image = photo().resize((side, side), Image.Resampling.BICUBIC)
    profile = matrix_profile(*RGB_SPACES["Adobe RGB"])
    plain = decode_pixels(encode(image, "JPEG", quality=95))
    actual = decode_pixels(encode(image, "JPEG", quality=95, icc_profile=profile))
    assert np.abs(actual - converted(plain, "Adobe RGB")).mean() < 1


@pytest.mark.parametrize("profile", SRGB_PROFILES.values(), ids=SRGB_PROFILES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_srgb_profile_keeps_pixels(profile: bytes, mode: str) -> None:
    image = photo().convert(mode)
    plain = decode_pixels(encode(image, "PNG"))
    np.testing.assert_array_equal(decode_pixels(encode(image, "PNG", icc_profile=profile)), plain)


UNUSABLE = {
    "empty": b"",
    "no profile": b"not a profile",
    "truncated": matrix_profile(DISPLAY_P3, SRGB_CURVE)[:200],
    "without curves": matrix_profile(DISPLAY_P3, SRGB_CURVE).replace(b"TRC", b"xxx"),
    "zeros": bytes(480),
    "too long": matrix_profile(DISPLAY_P3, SRGB_CURVE) + bytes(9 * 2**20),
    "of gray": gray_profile(1.8),
    "of inks": cmyk_profile(),
}


@pytest.mark.parametrize("profile", UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_profile_is_ignored(profile: bytes) -> None:
    plain = decode_pixels(encode(photo(), "TIFF"))
    actual = decode_pixels(encode(photo(), "TIFF", icc_profile=profile))
    np.testing.assert_array_equal(actual, plain)


@pytest.mark.slow
def test_damaged_bytes_of_a_profile_raise_no_error() -> None:
    profile = matrix_profile(DISPLAY_P3, SRGB_CURVE)
    random = np.random.default_rng(5)
    for _ in range(200):
        damaged = bytearray(profile)
        for position in random.integers(0, len(profile), 4):
            damaged[position] = random.integers(256)
        decode_pixels(encode(photo(), "TIFF", icc_profile=bytes(damaged)))


def test_revision_2_ignores_profiles() -> None:
    profile = matrix_profile(*RGB_SPACES["Adobe RGB"])
    content = encode(photo(), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decode_pixels(content, revision=2), np.asarray(photo()))
    assert (decode_pixels(content, DECODER_REVISION) != np.asarray(photo())).any()


def test_known_srgb_profile_costs_microseconds() -> None:
    profile = matrix_profile(SRGB, SRGB_CURVE)
    seconds = []
    for _ in range(200):
        image = Image.new("RGB", (1, 1))
        image.info["icc_profile"] = bytes(bytearray(profile))  # another object for each image
        start = time.perf_counter()
        assert find_conversion(image) is None
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 100e-6  # 1 megapixel takes 10 to 20 ms to decode
    assert seconds[0] < 0.5
