"""TIFF files with fields that Pillow does not write."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

SHORT, LONG, LONG8 = 3, 4, 16
_FORMATS = {1: "B", SHORT: "H", LONG: "I", LONG8: "Q"}


@dataclass(frozen=True)
class Page:
    """One page: its fields (type and values), and its strips or planes."""

    fields: dict[int, tuple[int, Sequence[int]]]
    strips: list[bytes] = field(default_factory=list)
    subpages: list[Page] = field(default_factory=list)


def tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """Encode pages. The strips are stored first, each directory before its values."""
    word = "Q" if big else "I"
    head = struct.pack(f"{order}2sH", b"II" if order == "<" else b"MM", 43 if big else 42)
    head += struct.pack(f"{order}HH", 8, 0) if big else b""
    body = bytearray(head + bytes(8 if big else 4))
    pointer = len(head)
    for page in pages:
        start = _append(body, page, order, big)
        struct.pack_into(f"{order}{word}", body, pointer, start)
        pointer = body.index(b"NEXT") if not big else body.index(b"NEXTNEXT")
        body[pointer : pointer + (8 if big else 4)] = bytes(8 if big else 4)
    return bytes(body)


def _append(body: bytearray, page: Page, order: str, big: bool) -> int:
    """Append a page; return the position of its directory, which ends with the marker NEXT."""
    word, size = ("Q", 8) if big else ("I", 4)
    fields = dict(page.fields)
    if page.subpages:
        starts = []
        for subpage in page.subpages:
            starts.append(_append(body, subpage, order, big))
            position = body.index(b"NEXT")
            body[position : position + size] = bytes(size)
        fields[330] = (LONG8 if big else LONG, starts)
    offsets = []
    for strip in page.strips:
        offsets.append(len(body))
        body += strip + bytes(len(strip) % 2)
    if offsets:
        fields[273] = (LONG8 if big else LONG, offsets)
        fields[279] = (LONG8 if big else LONG, [len(strip) for strip in page.strips])
    start = len(body)
    values = bytearray()
    after = start + (8 if big else 2) + (20 if big else 12) * len(fields) + size
    body += struct.pack(f"{order}Q" if big else f"{order}H", len(fields))
    for tag, (kind, numbers) in sorted(fields.items()):
        data = struct.pack(f"{order}{len(numbers)}{_FORMATS[kind]}", *numbers)
        if len(data) > size:
            stored = struct.pack(f"{order}{word}", after + len(values))
            values += data + bytes(len(data) % 2)
        else:
            stored = data.ljust(size, b"\0")
        body += struct.pack(f"{order}HH{word}", tag, kind, len(numbers)) + stored
    body += b"NEXT" * (size // 4) + values
    return start


def image_page(
    pixels: npt.NDArray[np.generic],
    photometric: int,
    *,
    planar: bool = False,
    order: str = "<",
    **more: tuple[int, Sequence[int]],
) -> Page:
    """Return an uncompressed page of pixels (height, width, samples); fields as ``t338=(SHORT, [2])``."""
    height, width, samples = pixels.shape
    stored = pixels.astype(pixels.dtype.newbyteorder(order))
    strips = [stored.tobytes()]
    if planar:
        strips = [stored[..., band].tobytes() for band in range(samples)]
    fields: dict[int, tuple[int, Sequence[int]]] = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8 * pixels.itemsize] * samples),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        277: (SHORT, [samples]),
        278: (LONG, [height]),
        284: (SHORT, [2 if planar else 1]),
    }
    return Page(fields | {int(name[1:]): value for name, value in more.items()}, strips)
