"""Images that something has happened to, drawn from a seed: what a stream must get over."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from PIL import Image

from pomona.demo.images import SAMPLE_LABELS, draw
from support.image_files import png_with_size, scan_bomb, tile_bomb

Rng = np.random.Generator
_FORMATS = {
    **{"jpg": ("JPEG", {}), "jpeg": ("JPEG", {"progressive": True}), "png": ("PNG", {})},
    **{"webp": ("WEBP", {}), "bmp": ("BMP", {}), "gif": ("GIF", {}), "ppm": ("PPM", {})},
    **{"tif": ("TIFF", {}), "tiff": ("TIFF", {"compression": "tiff_lzw"})},
    **{"jp2": ("JPEG2000", {}), "avif": ("AVIF", {"speed": 10})},
}
SUFFIXES = tuple(_FORMATS)
_TEXTS = (b"<html><body>404 Not Found</body></html>", b"Access Denied\n", b"{}", b"\0", b"P6 100 ")


@cache
def original(suffix: str, number: int) -> tuple[bytes, tuple[int, int]]:
    """A sample picture in a format, and its size."""
    rng = np.random.default_rng((5, number))
    picture = draw(SAMPLE_LABELS[number % len(SAMPLE_LABELS)], rng)
    name, options = _FORMATS[suffix]
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue(), picture.size


def flipped(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Bits flipped, in the header or anywhere."""
    changed = bytearray(content)
    reach = len(content) if rng.random() < 0.5 else min(200, len(content))
    for place in rng.integers(0, reach, rng.integers(1, 30)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Without its end, its beginning or some of its middle."""
    first, last = sorted(int(place) for place in rng.integers(0, len(content), 2))
    return (content[:last], content[first:], content[:first] + content[last:])[rng.integers(3)]


def spliced(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """The beginning of one image, and the end of another, mostly of another format."""
    other = original(SUFFIXES[rng.integers(len(SUFFIXES))], int(rng.integers(6)))[0]
    return content[: rng.integers(len(content))] + other[rng.integers(len(other)) :]


def zeroed(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Zeros over a part of it; or all of it, or nothing at all."""
    first, last = sorted(int(place) for place in rng.integers(0, len(content), 2))
    middle = content[:first] + bytes(last - first) + content[last:]
    return (middle, middle, bytes(len(content)), b"")[rng.integers(4)]


def text(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """A text or noise, or an image behind one."""
    words = _TEXTS[rng.integers(len(_TEXTS))]
    return (words, rng.bytes(rng.integers(1, 4000)), words + content)[rng.integers(3)]


def huge(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """The same content under another width and height, wherever the format keeps them."""
    large = [int(side) for side in 2 ** rng.uniform(8, 31, 2)]
    for was, now in zip(size, large, strict=True):
        for form in (">I", "<I", ">H", "<H"):
            now &= 2 ** (8 * struct.calcsize(form)) - 1
            content = (
                content[:400].replace(struct.pack(form, was), struct.pack(form, now))
                + content[400:]
            )
    if content.startswith(b"\x89PNG"):  # or its check sum says that it is broken
        content = content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:]
    return content


def bomb(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Little that becomes much: pixels, memory, time."""
    return (
        lambda: png_with_size(*(int(side) for side in rng.integers(5_000, 10_000, 2))),
        lambda: _black("PNG", int(rng.integers(2_000, 6_000))),
        lambda: _black("GIF", int(rng.integers(2_000, 9_000))),
        lambda: tile_bomb(int(rng.integers(300, 700)) * 16),
        lambda: scan_bomb(int(rng.integers(100, 400)), 1000),
    )[rng.integers(5)]()


def _black(name: str, side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, name)
    return buffer.getvalue()


KINDS: dict[str, tuple[Callable[[bytes, tuple[int, int], Rng], bytes], float]] = {
    **{
        "flipped": (flipped, 30),
        "cut": (cut, 20),
        "spliced": (spliced, 15),
        "zeroed": (zeroed, 12),
    },
    **{"huge": (huge, 12), "text": (text, 6), "whole": (lambda content, size, rng: content, 4)},
    **{"bomb": (bomb, 1)},
}


def mutants(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Draw images that something has happened to.

    Yields
    ------
    str
        A name, such as ``cut/17.png``; every tenth has the suffix of another format.
    bytes
    """
    weights = np.array([weight for _, weight in KINDS.values()])
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        kind = list(KINDS)[rng.choice(len(KINDS), p=weights / weights.sum())]
        suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
        content, size = original(suffix, int(rng.integers(6)))
        if number % 10 == 0:
            suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
        yield f"{kind}/{number}.{suffix}", KINDS[kind][0](content, size, rng)
