"""Seeded random mutations of valid images, for fuzz tests."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from PIL import Image

from streaming.images.synthetic import SAMPLE_LABELS, draw
from support.images.image_files import png_with_size, scan_bomb, tile_bomb

Rng = np.random.Generator
_FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    "jpg": ("JPEG", {}),
    "jpeg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "ppm": ("PPM", {}),
    "tif": ("TIFF", {}),
    "tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "jp2": ("JPEG2000", {}),
    "avif": ("AVIF", {"speed": 10}),
}
SUFFIXES = tuple(_FORMATS)
_TEXTS = (b"<html><body>404 Not Found</body></html>", b"Access Denied\n", b"{}", b"\0", b"P6 100 ")


@cache
def original(suffix: str, number: int) -> tuple[bytes, tuple[int, int]]:
    """Return a sample image in the format of a suffix, and its size."""
    rng = np.random.default_rng((5, number))
    image = draw(SAMPLE_LABELS[number % len(SAMPLE_LABELS)], rng)
    name, options = _FORMATS[suffix]
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue(), image.size


def flip_bits(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Flip bits in the header or anywhere."""
    changed = bytearray(content)
    limit = len(content) if rng.random() < 0.5 else min(200, len(content))
    for index in rng.integers(0, limit, rng.integers(1, 30)):
        changed[index] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def truncate(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Remove the end, the beginning or a part in the middle."""
    first, last = sorted(int(index) for index in rng.integers(0, len(content), 2))
    return (content[:last], content[first:], content[:first] + content[last:])[rng.integers(3)]


def splice(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Join the beginning of one image with the end of another, usually of another format."""
    other = original(SUFFIXES[rng.integers(len(SUFFIXES))], int(rng.integers(6)))[0]
    return content[: rng.integers(len(content))] + other[rng.integers(len(other)) :]


def zero(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Overwrite a part or everything with zeros, or return no content."""
    first, last = sorted(int(index) for index in rng.integers(0, len(content), 2))
    middle = content[:first] + bytes(last - first) + content[last:]
    return (middle, middle, bytes(len(content)), b"")[rng.integers(4)]


def insert_text(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Return text or noise, or put text before the image."""
    prefix = _TEXTS[rng.integers(len(_TEXTS))]
    return (prefix, rng.bytes(rng.integers(1, 4000)), prefix + content)[rng.integers(3)]


def enlarge_size(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Replace width and height in the header by larger ones."""
    large = [int(side) for side in 2 ** rng.uniform(8, 31, 2)]
    for old, new in zip(size, large, strict=True):
        for form in (">I", "<I", ">H", "<H"):
            new &= 2 ** (8 * struct.calcsize(form)) - 1
            content = (
                content[:400].replace(struct.pack(form, old), struct.pack(form, new))
                + content[400:]
            )
    if content.startswith(b"\x89PNG"):  # with a valid checksum
        content = content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:]
    return content


def make_bomb(content: bytes, size: tuple[int, int], rng: Rng) -> bytes:
    """Return a small file that needs many pixels, much memory or much time to decode."""
    return (
        lambda: png_with_size(*(int(side) for side in rng.integers(5_000, 10_000, 2))),
        lambda: _black_image("PNG", int(rng.integers(2_000, 6_000))),
        lambda: _black_image("GIF", int(rng.integers(2_000, 9_000))),
        lambda: tile_bomb(int(rng.integers(300, 700)) * 16),
        lambda: scan_bomb(int(rng.integers(100, 400)), 1000),
    )[rng.integers(5)]()


def _black_image(name: str, side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, name)
    return buffer.getvalue()


#: Mutations, by the label of their images, with relative frequencies.
MUTATIONS: dict[str, tuple[Callable[[bytes, tuple[int, int], Rng], bytes], float]] = {
    "flipped": (flip_bits, 30),
    "cut": (truncate, 20),
    "spliced": (splice, 15),
    "zeroed": (zero, 12),
    "huge": (enlarge_size, 12),
    "text": (insert_text, 6),
    "intact": (lambda content, size, rng: content, 4),
    "bomb": (make_bomb, 1),
}


def mutated_images(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of mutated images.

    A name is, for example, ``cut/17.png``; every tenth has the suffix of another format.
    """
    weights = np.array([weight for _, weight in MUTATIONS.values()])
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        kind = list(MUTATIONS)[rng.choice(len(MUTATIONS), p=weights / weights.sum())]
        suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
        content, size = original(suffix, int(rng.integers(6)))
        if number % 10 == 0:
            suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
        yield f"{kind}/{number}.{suffix}", MUTATIONS[kind][0](content, size, rng)
