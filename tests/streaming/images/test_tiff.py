"""Tests for `streaming.images.tiff`: pages, planes, palettes, BigTIFF, and unsupported variants."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image

from streaming.images.decode import UndecodableImage, decode
from streaming.outcomes import Reason
from support.images.image_files import (
    RAW,
    SIDE,
    as_rgb,
    decode_pixels,
    encode,
    over_white,
    photo,
    reason_of,
)
from support.images.tiff_files import LONG, SHORT, Page, image_page, tiff

RGB = np.asarray(photo())
GRAY = np.asarray(photo().convert("L"))
ALPHA = np.asarray(Image.linear_gradient("L").resize((SIDE, SIDE)))
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # from Pillow
ORDERS = pytest.mark.parametrize("order", ["<", ">"])


def wide(pixels: np.ndarray) -> np.ndarray:
    """Return 8-bit pixels as 16 bits, with another low byte."""
    return pixels.astype(np.uint16) * 256 + 77


@ORDERS
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_rgb_decodes_in_each_layout(order: str, big: bool, planar: bool, bits: int) -> None:
    pixels = wide(RGB) if bits == 16 else RGB
    content = tiff(image_page(pixels, 2, planar=planar, order=order), order=order, big=big)
    np.testing.assert_array_equal(decode_pixels(content), RGB)


def test_16_bit_planes_keep_former_pixels_in_revision_2() -> None:
    content = tiff(image_page(wide(RGB), 2, planar=True))
    assert np.abs(decode_pixels(content, revision=2).astype(int) - RGB).max() > 50


@ORDERS
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_rgb_planes_with_another_channel_decode(order: str, bits: int, extra: int) -> None:
    color = RGB * (ALPHA[..., None] / 255) if extra == 1 else RGB
    pixels = np.dstack([np.rint(color).astype(np.uint8), ALPHA])
    page = image_page(
        wide(pixels) if bits == 16 else pixels, 2, planar=True, order=order, t338=(SHORT, [extra])
    )
    expected = over_white(np.dstack([RGB, ALPHA])) if extra else RGB
    decoded = decode_pixels(tiff(page, order=order)).astype(int)
    assert np.abs(decoded - expected).max() <= 2


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("compressed", [False, True])
def test_gray_planes_with_another_channel_decode(extra: int, compressed: bool) -> None:
    gray = np.rint(GRAY * (ALPHA / 255)).astype(np.uint8) if extra == 1 else GRAY
    page = image_page(np.dstack([gray, ALPHA]), 1, planar=True, t338=(SHORT, [extra]))
    if compressed:
        page = compress(page)
    expected = over_white(np.dstack([as_rgb(GRAY), ALPHA])) if extra else as_rgb(GRAY)
    decoded = decode_pixels(tiff(page)).astype(int)
    assert np.abs(decoded - expected).max() <= 2


def compress(page: Page) -> Page:
    return Page(page.fields | {259: (SHORT, [8])}, [zlib.compress(strip) for strip in page.strips])


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_planes_equal_interleaved_ones(bits: int) -> None:
    pixels = np.asarray(photo().convert("CMYK"))
    pixels = wide(pixels) if bits == 16 else pixels
    planar, interleaved = (tiff(image_page(pixels, 5, planar=planar)) for planar in (True, False))
    np.testing.assert_array_equal(decode_pixels(planar), decode_pixels(interleaved))


def test_lab_planes_equal_interleaved_ones() -> None:
    pixels = np.dstack([GRAY, GRAY // 4, 255 - GRAY // 4])
    planar, interleaved = (tiff(image_page(pixels, 8, planar=planar)) for planar in (True, False))
    np.testing.assert_array_equal(decode_pixels(planar), decode_pixels(interleaved))


@ORDERS
def test_palette_with_8_bit_values_has_colors(order: str) -> None:
    image = photo().quantize(256)
    colors = np.asarray(image.getpalette(), np.uint16).reshape(-1, 3).T.ravel()
    indices = np.asarray(image)[..., None]
    expected = np.asarray(image.convert("RGB"))
    for factor in (1, 257):
        table = (SHORT, (colors * factor).tolist())
        content = tiff(image_page(indices, 3, order=order, t320=table), order=order)
        np.testing.assert_array_equal(decode_pixels(content), expected)
    eight_bit = tiff(
        image_page(indices, 3, order=order, t320=(SHORT, colors.tolist())), order=order
    )
    assert decode_pixels(eight_bit, revision=2).max() == 0  # black


@pytest.mark.parametrize(
    "preview",
    [{"t254": (LONG, [1])}, {"t254": (LONG, [5])}, {"t255": (SHORT, [2])}, {"t254": (LONG, [4])}],
)
@pytest.mark.parametrize("big", [False, True])
@ORDERS
def test_reduced_or_mask_page_is_not_the_image(preview: dict, big: bool, order: str) -> None:
    thumbnail = image_page(np.zeros((16, 16, 3), np.uint8), 2, order=order, **preview)
    picture = image_page(RGB, 2, order=order)
    for pages in ([thumbnail, picture], [thumbnail, thumbnail, picture, thumbnail]):
        decoded = decode(tiff(*pages, order=order, big=big), RAW)
        assert (decoded.width, decoded.height) == (SIDE, SIDE)
        np.testing.assert_array_equal(decoded.pixels, RGB)


def test_first_page_remains_the_image_of_several_and_in_revision_2() -> None:
    other = image_page(np.zeros((SIDE, SIDE, 3), np.uint8), 2)
    np.testing.assert_array_equal(decode_pixels(tiff(image_page(RGB, 2), other)), RGB)
    reduced = image_page(np.zeros((SIDE, SIDE, 3), np.uint8), 2, t254=(LONG, [1]))
    content = tiff(reduced, image_page(RGB, 2))
    assert decode_pixels(content, revision=2).max() == 0
    assert decode_pixels(tiff(reduced)).max() == 0  # there is no other page


def test_image_in_sub_directory_of_a_preview_is_the_image() -> None:
    preview = image_page(np.zeros((16, 16, 3), np.uint8), 2, t254=(LONG, [1]))
    content = tiff(Page(preview.fields, preview.strips, [image_page(RGB, 2)]))
    np.testing.assert_array_equal(decode_pixels(content), RGB)


def test_orientation_of_the_chosen_page_is_applied() -> None:
    thumbnail = image_page(np.zeros((16, 16, 3), np.uint8), 2, t254=(LONG, [1]))
    pixels = RGB[: SIDE // 2]
    for planar in (False, True):
        page = image_page(wide(pixels), 2, planar=planar, t274=(SHORT, [6]))
        decoded = decode(tiff(thumbnail, page), RAW)
        assert (decoded.width, decoded.height) == (SIDE // 2, SIDE)
        upright = Image.fromarray(np.rot90(pixels, -1).copy())
        expected = upright.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(decoded.pixels, np.asarray(expected))


def detail_of(content: bytes) -> str:
    with pytest.raises(UndecodableImage) as caught:
        decode(content, RAW)
    assert caught.value.reason is Reason.UNSUPPORTED, caught.value.detail
    return caught.value.detail


def test_unsupported_variants_are_named() -> None:
    floats = RGB.astype(np.float32) / 255
    assert "3 floating-point samples of 32 bits per pixel, RGB" in detail_of(
        tiff(image_page(floats, 2, t339=(SHORT, [3, 3, 3])))
    )
    half = GRAY[..., None].astype(np.float16)
    assert "1 floating-point sample of 16 bits" in detail_of(
        tiff(image_page(half, 1, t339=(SHORT, [3])))
    )
    assert "LogLuv, SGILog" in detail_of(tiff(image_page(RGB, 32845, t259=(SHORT, [34676]))))
    assert "raw sensor (CFA)" in detail_of(tiff(image_page(GRAY[..., None], 32803)))
    assert "JPEG 2000" in detail_of(tiff(image_page(RGB, 2, t259=(SHORT, [34712]))))
    assert "JPEG XL" in detail_of(tiff(image_page(RGB, 2, t259=(SHORT, [50002]))))
    assert "compression number 12345" in detail_of(tiff(image_page(RGB, 2, t259=(SHORT, [12345]))))
    ycc = np.asarray(photo().convert("YCbCr"))
    assert "YCbCr, uncompressed, in separate planes" in detail_of(
        tiff(image_page(ycc, 6, planar=True))
    )
    assert "4 integer samples of 32 bits" in detail_of(
        tiff(image_page(np.zeros((8, 8, 4), np.uint32), 2, t338=(SHORT, [2])))
    )


def test_missing_pixels_are_truncated_and_contradictions_corrupt() -> None:
    content = tiff(image_page(RGB, 2))
    page = image_page(RGB, 2)
    no_width = Page({tag: v for tag, v in page.fields.items() if tag != 256}, page.strips)
    assert reason_of(tiff(no_width)) is Reason.CORRUPT
    assert reason_of(tiff(image_page(RGB, 2, t258=(SHORT, [8, 8])))) is Reason.CORRUPT
    damaged = bytearray(encode(photo(), "TIFF", compression="tiff_lzw"))
    damaged[100:1000] = b"\xff" * 900
    assert reason_of(bytes(damaged)) is Reason.CORRUPT
    assert reason_of(content[:-4]) is Reason.TRUNCATED
    no_strips = tiff(Page(page.fields | {273: (LONG, [10**8]), 279: (LONG, [RGB.size])}))
    assert reason_of(no_strips) is Reason.TRUNCATED
