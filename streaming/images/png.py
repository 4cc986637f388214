"""The structure of a PNG file: its chunks, missing bytes, and metadata that may be left out."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import PngImagePlugin

from streaming.counts import format_count
from streaming.images.problems import Problem, corrupt, truncated, unsupported

#: Color type to the bit depths that it permits.
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
#: Ancillary chunks that decide pixels, and their valid lengths (None: any).
_PIXEL_CHUNKS: dict[bytes, tuple[int, ...] | None] = {
    b"tRNS": None,
    b"eXIf": None,
    b"iCCP": None,
    b"gAMA": (4,),
    b"cHRM": (32,),
    b"sRGB": (1,),
    b"cICP": (4,),
}
#: The chunks that a detail may name; the name of any other is content of the file.
_KINDS = {
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"pHYs",
    b"bKGD",
    b"tIME",
    b"hIST",
}
_KINDS |= {b"sBIT", b"sPLT", b"acTL", b"fcTL", b"fdAT", *_PIXEL_CHUNKS}


class Chunk(NamedTuple):
    """A chunk of the file: its type, and the positions of its length and of the byte after its checksum."""

    kind: bytes
    start: int
    end: int

    def data(self, content: bytes) -> bytes:
        """Return the data without the checksum."""
        return content[self.start + 8 : self.end - 4]

    def checksum_is_valid(self, content: bytes) -> bool:
        """Return whether the CRC of type and data is correct."""
        expected = int.from_bytes(content[self.end - 4 : self.end], "big")
        return zlib.crc32(memoryview(content)[self.start + 4 : self.end - 4]) == expected


def chunks(content: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to IEND; the last one extends beyond the end of a truncated file."""
    position = 8
    while position < len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        chunk = Chunk(content[position + 4 : position + 8], position, position + 12 + length)
        yield chunk
        position = chunk.end
        if chunk.kind == b"IEND":
            return


def strip_metadata(content: bytes) -> bytes | None:
    """Return the file without the chunks that decide no pixel; None if a chunk is incomplete.

    Transparency, EXIF and color chunks are kept if they are valid. Decoders ignore invalid ones.
    """
    parts = [content[:8]]
    color = content[25:26]
    for chunk in chunks(content):
        if chunk.end > len(content):
            return None
        critical = not chunk.kind[:1].islower()
        if critical or _decides_pixels(chunk, content, color):
            parts.append(content[chunk.start : chunk.end])
    stripped = b"".join(parts)
    return stripped if len(stripped) < len(content) else None


def _decides_pixels(chunk: Chunk, content: bytes, color: bytes) -> bool:
    if chunk.kind not in _PIXEL_CHUNKS or not chunk.checksum_is_valid(content):
        return False
    data = chunk.data(content)
    if chunk.kind == b"tRNS":
        return len(data) == {b"\0": 2, b"\2": 6}.get(color, len(data)) and bool(data)
    if chunk.kind == b"iCCP":
        return _is_profile(data)
    lengths = _PIXEL_CHUNKS[chunk.kind]
    return lengths is None or len(data) in lengths


def _is_profile(data: bytes) -> bool:
    """Return whether an iCCP chunk has a profile of at most the size that Pillow reads."""
    name, _, compressed = data.partition(b"\0")
    limit: int = PngImagePlugin.MAX_TEXT_CHUNK
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(compressed[1:], limit)
    except zlib.error:
        return False
    return bool(name) and compressed[:1] == b"\0" and bool(profile) and decompressor.eof


def find_problem(content: bytes) -> Problem | None:
    """Return why a PNG file is not decoded, as far as its structure shows it."""
    found = list(chunks(content))
    if not found:
        return truncated("the file ends after the signature of a PNG")
    first = found[0]
    if first.kind == b"CgBI":
        return unsupported("a PNG in Apple's variant for iOS (CgBI)")
    for chunk in found:
        name = f"the {chunk.kind.decode()} chunk" if chunk.kind in _KINDS else "an unknown chunk"
        if not chunk.kind.isalpha():
            return (
                truncated("the file ends inside the header of a chunk of the PNG")
                if len(chunk.kind) < 4
                else corrupt("the PNG has bytes between its chunks")
            )
        if chunk.end > len(content):
            if chunk.end - chunk.start > 2**31:
                return corrupt(f"{name} of the PNG declares an impossible length")
            return truncated(f"the file ends inside {name} of the PNG")
        if chunk.kind[:1].isupper() and not chunk.checksum_is_valid(content):
            return corrupt(f"the checksum of {name} of the PNG is wrong")
    problem = _header_problem(first, content)
    if problem:
        return problem
    kinds = [chunk.kind for chunk in found]
    if kinds[-1] != b"IEND":
        return truncated("the file ends without the end marker of a PNG")
    if b"IDAT" not in kinds:
        return corrupt("the PNG contains no pixels (no IDAT chunk)")
    if content[25] == 3 and b"PLTE" not in kinds:
        return corrupt("the PNG has no palette (no PLTE chunk)")
    return None


def _header_problem(first: Chunk, content: bytes) -> Problem | None:
    data = first.data(content)
    if first.kind != b"IHDR" or len(data) != 13:
        return corrupt("the PNG does not begin with a valid header (IHDR chunk)")
    depth, color, compression, filtering, interlace = data[8:13]
    if depth not in _DEPTHS.get(color, ()):
        return corrupt(
            f"the PNG declares color type {color} with {format_count(depth, 'bit')}, which is invalid"
        )
    if compression or filtering or interlace > 1:
        return corrupt("the PNG declares an unknown compression, filter or interlace method")
    if not int.from_bytes(data[:4], "big") or not int.from_bytes(data[4:8], "big"):
        return corrupt("the PNG declares a width or height of 0 pixels")
    return None
