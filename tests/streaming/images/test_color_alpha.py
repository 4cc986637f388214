"""What is transparent is shown over white, however a file says that it is transparent."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from streaming.images import color
from support.image_files import SIDE, as_rgb, decode_pixels, encode, over_white, photo, png


@pytest.fixture(autouse=True, params=[color.STRIP_PIXELS, 500], ids=["whole", "in strips"])
def strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images are turned into RGB at once, large ones in strips; here both ways are tried."""
    monkeypatch.setattr(color, "STRIP_PIXELS", request.param)


def test_a_transparent_16_bit_grey_is_white() -> None:
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
def test_alpha_is_laid_over_white(mode: str, name: str) -> None:
    image = photo().convert(mode.rstrip("Aa") or "P").convert(mode)
    image.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)))
    options = {"lossless": True, "exact": True} if name == "WEBP" else {}
    content = encode(image, name, **options)
    assert Image.open(io.BytesIO(content)).mode == mode
    wanted = over_white(np.asarray(image.convert("RGBA")))
    assert np.abs(decode_pixels(content) - wanted).max() <= 1


def test_premultiplied_alpha_is_laid_over_white() -> None:
    """Pillow writes none, so the tag ExtraSamples of a TIFF is changed from straight alpha."""
    straight, associated = (struct.pack("<HHIH", 338, 3, 1, kind) for kind in (2, 1))
    for mode in ("RGBA", "LA"):
        image = photo().convert(mode)
        image.putalpha(128)
        *colours, alpha = image.split()
        half = Image.merge(
            mode, [*(band.point(lambda v: v * 128 // 255) for band in colours), alpha]
        )
        content = encode(half, "TIFF")
        assert content.count(straight) == 1
        wanted = over_white(np.asarray(image.convert("RGBA")))
        assert np.abs(decode_pixels(content.replace(straight, associated)) - wanted).max() <= 2


def test_a_transparent_colour_is_white_whatever_the_depth() -> None:
    colour = photo().getpixel((5, 9))
    wanted = np.array(photo())
    wanted[(wanted == colour).all(axis=2)] = 255
    np.testing.assert_array_equal(
        decode_pixels(encode(photo(), "PNG", transparency=colour)), wanted
    )
    two_bits = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 4
    rows = np.packbits(
        np.unpackbits(two_bits[..., None], axis=2)[..., 6:].reshape(SIDE, -1), axis=1
    )
    content = png((SIDE, SIDE), depth=2, colour=0, key=struct.pack(">H", 2), rows=rows)
    np.testing.assert_array_equal(
        decode_pixels(content), as_rgb(np.where(two_bits == 2, 255, two_bits * 85.0))
    )
    deep = (np.asarray(photo()).astype(np.uint16) * 256 + 7).astype(">u2")
    key = deep[9, 5].tobytes()
    content = png(
        (SIDE, SIDE), depth=16, colour=2, key=key, rows=deep.view(np.uint8).reshape(SIDE, -1)
    )
    np.testing.assert_array_equal(decode_pixels(content), wanted)


def test_a_transparent_palette_entry_is_white() -> None:
    palette = photo().quantize(16)
    index = np.asarray(palette)
    wanted = np.array(palette.convert("RGB"))
    wanted[index == 3] = 255
    for name in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode_pixels(encode(palette, name, transparency=3)), wanted)
    partly = encode(palette, "PNG", transparency=bytes(range(0, 240, 15)))
    rgba = np.dstack([np.asarray(palette.convert("RGB")), (index * 15).astype(np.uint8)])
    assert np.abs(decode_pixels(partly) - over_white(rgba)).max() <= 1
