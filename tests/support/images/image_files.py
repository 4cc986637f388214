"""Image files for the tests of the decoder, and helpers to decode them."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from streaming.images.decode import DECODER_REVISION, DecodeSettings, UndecodableImage, decode
from streaming.outcomes import Reason

Pixels = npt.NDArray[np.uint8]
EVERY_FORMAT = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF", "PPM"]
SIDE = 64
RAW = DecodeSettings(size=SIDE, divisor=1.0, offset=0.0)


@cache
def photo(width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Return an RGB image with gradients and noise. It is shared: do not modify it."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).integers(0, 40, (height, width, 3))
    return Image.fromarray((np.stack([2 * x, y, x + y], 2) + noise).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    """Encode an image with Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def png(size: tuple[int, int], depth: int, color: int, rows: Pixels, key: bytes = b"") -> bytes:
    """Encode a PNG with a bit depth that Pillow does not write, or with a wrong size in the header."""
    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in ((b"IHDR", header), (b"tRNS", key), (b"IDAT", data), (b"IEND", b"")):
        if body or kind != b"tRNS":
            crc = struct.pack(">I", zlib.crc32(kind + body))
            parts += [struct.pack(">I", len(body)), kind, body, crc]
    return b"".join(parts)


def png_with_size(width: int, height: int) -> bytes:
    """Encode a small PNG whose header has the given size."""
    return png((width, height), 8, 2, np.zeros((3, 30), np.uint8))


@cache
def scan_bomb(side: int, scans: int) -> bytes:
    """Return a small JPEG that repeats its last scan: the decoder processes the whole image for each."""
    content = encode(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    end = content.rindex(b"\xff\xd9")
    last = content.rindex(b"\xff\xda", 0, end)
    return content[:end] + content[last:end] * scans + content[end:]


def tile_bomb(side: int) -> bytes:
    """Return a TIFF of 8 x 8 pixels whose single tile has `side` x `side` pixels, all zeros and compressed."""
    data = zlib.compress(bytes(3 * side * side), 9)
    tags = [(256, 8), (257, 8), (258, 8), (259, 8), (262, 2), (277, 3), (322, side), (323, side)]
    tags += [(324, 8), (325, len(data))]
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data) + len(data) % 2)
    directory = struct.pack("<H", len(tags)) + fields + bytes(4)
    return start + data + bytes(len(data) % 2) + directory


def damaged_tiff(compression: str) -> bytes:
    """Return a TIFF with damaged pixels: libtiff decodes ``group4`` with warnings, and others not at all."""
    mode = "1" if compression.startswith("group") else "RGB"
    content = bytearray(encode(photo().convert(mode), "TIFF", compression=compression))
    middle = len(content) // 2
    content[middle : middle + 40] = b"Z" * 40
    return bytes(content)


def decode_pixels(content: bytes, revision: int = DECODER_REVISION) -> Pixels:
    """Decode a file of SIDE x SIDE pixels without resizing or scaling."""
    return decode(content, replace(RAW, revision=revision)).pixels.astype(np.uint8)


def reason_of(content: bytes, settings: DecodeSettings = RAW) -> Reason | None:
    """Return the reason why content cannot be decoded, or None if it can; other exceptions propagate."""
    try:
        decoded = decode(content, settings)
    except UndecodableImage as error:
        reason, detail = error.reason, error.detail
    else:
        assert decoded.pixels.shape == (settings.size, settings.size, 3)
        return None
    assert detail.strip()
    assert "\n" not in detail
    assert " at 0x" not in detail
    return reason


def over_white(rgba: Pixels) -> npt.NDArray[np.float64]:
    """Composite RGBA pixels of shape (height, width, 4) over white with the textbook formula."""
    alpha = rgba[..., 3:] / 255.0
    return rgba[..., :3] * alpha + 255.0 * (1 - alpha)


def as_rgb(gray: npt.NDArray[np.float64]) -> Pixels:
    """Round gray values from 0 to 255 and repeat them in three channels."""
    return np.repeat(np.rint(gray).astype(np.uint8)[..., None], 3, axis=2)
