"""Tests for `streaming.images.color`: transparency is composited over white."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from streaming.images import color
from streaming.images.decode import SUPPORTED_REVISIONS
from support.images.image_files import SIDE, as_rgb, decode_pixels, encode, over_white, photo, png


@pytest.fixture(autouse=True, params=[color.STRIP_PIXELS, 500], ids=["whole", "in strips"])
def strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test without strips, and with strips of 500 pixels."""
    monkeypatch.setattr(color, "STRIP_PIXELS", request.param)


def test_transparent_16_bit_gray_is_white() -> None:
    ramp = np.linspace(0, 65535, SIDE * SIDE).round().astype(np.uint16).reshape(SIDE, SIDE)
    level = int(ramp[10, 10])
    content = encode(Image.fromarray(ramp), "PNG", transparency=level)
    np.testing.assert_array_equal(
        decode_pixels(content), as_rgb(np.where(ramp == level, 255, ramp / 257))
    )


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("RGBA", "WEBP"),
        ("LA", "TIFF"),
        ("RGBA", "TIFF"),
        ("PA", "TIFF"),
    ],
)
def test_alpha_is_composited_over_white(mode: str, name: str) -> None:
    image = photo().convert(mode.rstrip("Aa") or "P").convert(mode)
    image.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)))
    options = {"lossless": True, "exact": True} if name == "WEBP" else {}
    content = encode(image, name, **options)
    assert Image.open(io.BytesIO(content)).mode == mode
    expected = over_white(np.asarray(image.convert("RGBA")))
    assert np.abs(decode_pixels(content) - expected).max() <= 1


def test_premultiplied_alpha_is_composited_over_white() -> None:
    """Pillow cannot write premultiplied alpha, so the ExtraSamples tag of a TIFF with straight alpha is changed."""
    straight, associated = (struct.pack("<HHIH", 338, 3, 1, kind) for kind in (2, 1))
    for mode in ("RGBA", "LA"):
        image = photo().convert(mode)
        image.putalpha(128)
        *bands, alpha = image.split()
        premultiplied = Image.merge(
            mode, [*(band.point(lambda v: v * 128 // 255) for band in bands), alpha]
        )
        content = encode(premultiplied, "TIFF")
        assert content.count(straight) == 1
        expected = over_white(np.asarray(image.convert("RGBA")))
        assert np.abs(decode_pixels(content.replace(straight, associated)) - expected).max() <= 2


def test_transparent_color_is_white_at_any_bit_depth() -> None:
    color = photo().getpixel((5, 9))
    expected = np.array(photo())
    expected[(expected == color).all(axis=2)] = 255
    np.testing.assert_array_equal(
        decode_pixels(encode(photo(), "PNG", transparency=color)), expected
    )
    two_bits = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 4
    rows = np.packbits(
        np.unpackbits(two_bits[..., None], axis=2)[..., 6:].reshape(SIDE, -1), axis=1
    )
    content = png((SIDE, SIDE), depth=2, color=0, key=struct.pack(">H", 2), rows=rows)
    np.testing.assert_array_equal(
        decode_pixels(content), as_rgb(np.where(two_bits == 2, 255, two_bits * 85.0))
    )
    sixteen_bit = (np.asarray(photo()).astype(np.uint16) * 256 + 7).astype(">u2")
    transparent = sixteen_bit[9, 5].tobytes()
    content = png(
        (SIDE, SIDE),
        depth=16,
        color=2,
        key=transparent,
        rows=sixteen_bit.view(np.uint8).reshape(SIDE, -1),
    )
    np.testing.assert_array_equal(decode_pixels(content), expected)


def test_transparent_palette_entry_is_white() -> None:
    palette = photo().quantize(16)
    index = np.asarray(palette)
    expected = np.array(palette.convert("RGB"))
    expected[index == 3] = 255
    for name in ("PNG", "GIF"):
        np.testing.assert_array_equal(
            decode_pixels(encode(palette, name, transparency=3)), expected
        )
    translucent = encode(palette, "PNG", transparency=bytes(range(0, 240, 15)))
    rgba = np.dstack([np.asarray(palette.convert("RGB")), (index * 15).astype(np.uint8)])
    assert np.abs(decode_pixels(translucent) - over_white(rgba)).max() <= 1


def bmp(rgba: Image.Image) -> bytes:
    """Encode a 32-bit BMP with a BITMAPV4HEADER, whose masks declare the fourth byte to be alpha."""
    pixels = rgba.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, *rgba.size, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    body = header + masks + b"BGRs" + bytes(48)
    start = struct.pack("<2sIHHI", b"BM", 14 + len(body) + len(pixels), 0, 0, 14 + len(body))
    return start + body + pixels


def test_bmp_with_alpha_0_everywhere_is_opaque_from_revision_3_on() -> None:
    image = photo().convert("RGBA")
    image.putalpha(0)
    np.testing.assert_array_equal(decode_pixels(bmp(image)), np.asarray(photo()))
    assert decode_pixels(bmp(image), revision=2).min() == 255
    image.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)))
    expected = over_white(np.asarray(image))
    for revision in SUPPORTED_REVISIONS:
        assert np.abs(decode_pixels(bmp(image), revision=revision) - expected).max() <= 1
