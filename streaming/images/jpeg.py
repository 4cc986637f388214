"""The structure of a JPEG file: its segments, unsupported variants, missing bytes, metadata that may be left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from streaming.counts import format_count
from streaming.images.problems import Problem, corrupt, truncated, unsupported

_SOS, _EOI, _DHP, _JPEG_LS = 0xDA, 0xD9, 0xDE, 0xF7
#: Markers without a length: TEM, RST0 to RST7, SOI.
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {
    0xC0: "baseline",
    0xC1: "extended sequential",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic-coded",
    0xCA: "arithmetic-coded progressive",
    0xCB: "arithmetic-coded lossless",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
}
_UNSUPPORTED_FRAMES = {0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
# In compressed data, FF is followed by 00, by more FF, or by a restart marker.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True)
class Segment:
    """A marker and its segment; for SOS, the segment includes the compressed data that follows."""

    marker: int
    start: int
    end: int
    payload: int

    def data(self, content: bytes) -> bytes:
        """Return the payload, which is incomplete if the file ends early."""
        return content[self.payload : self.end]


def segments(content: bytes) -> Iterator[Segment]:
    """Yield the segments after SOI up to EOI; the last one extends beyond the end of a truncated file."""
    position = 2
    while position < len(content):
        position = content.find(b"\xff", position)
        if position < 0:
            return
        start = position
        while content[position : position + 1] == b"\xff":
            position += 1
        if position >= len(content):
            return
        marker = content[position]
        position += 1
        if marker == 0 or marker in _STANDALONE:  # 0: bytes between segments
            continue
        if marker == _EOI:
            yield Segment(marker, start, position, position)
            return
        payload = position + 2
        position += max(2, int.from_bytes(content[position:payload], "big"))
        if marker == _SOS:
            found = _MARKER_IN_SCAN.search(content, position)
            position = found.start() if found else max(position, len(content))
        yield Segment(marker, start, position, payload)


def strip_metadata(content: bytes) -> bytes | None:
    """Return the file without the application segments and comments that decide no pixel.

    EXIF, and complete JFIF, Adobe and ICC segments are kept. libjpeg ignores incomplete JFIF and Adobe segments.
    """
    parts, position = [], 0
    for segment in segments(content):
        if 0xE0 <= segment.marker <= 0xEF or segment.marker == 0xFE:
            if not _decides_pixels(segment.marker, segment.data(content)):
                parts.append(content[position : segment.start])
                position = segment.end
        elif segment.marker == _SOS:
            break
    return b"".join([*parts, content[position:]]) if parts else None


def _decides_pixels(marker: int, data: bytes) -> bool:
    return (
        (marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 14)
        or (marker == 0xE1 and data.startswith(b"Exif\0\0"))
        or (marker == 0xE2 and data.startswith(b"ICC_PROFILE\0") and len(data) > 14)
        or (marker == 0xEE and data.startswith(b"Adobe") and len(data) >= 12)
    )


def find_problem(content: bytes) -> Problem | None:
    """Return why a JPEG file is not decoded, as far as its structure shows it."""
    frame = None
    scans = 0
    ended = False
    for segment in segments(content):
        if segment.marker == _DHP:
            return unsupported("a hierarchical JPEG")
        if segment.marker == _JPEG_LS:
            return unsupported("a JPEG-LS image")
        if segment.marker in _FRAMES and frame is None:
            frame = segment
            if segment.end <= len(content):
                problem = _frame_problem(segment.marker, segment.data(content))
                if problem:
                    return problem
        if segment.end > len(content):
            return truncated("the file ends inside its header")
        scans += segment.marker == _SOS
        ended |= segment.marker == _EOI
    if not ended:
        where = "inside the compressed data" if scans else "before the compressed data"
        return truncated(f"the file ends {where}, without the end marker of a JPEG")
    if frame is None:
        return corrupt("the JPEG declares no size (no frame header)")
    return None if scans else corrupt("the JPEG contains no compressed data")


def _frame_problem(marker: int, data: bytes) -> Problem | None:
    if len(data) < 6:
        return corrupt("the frame header of the JPEG is too short")
    bits, height, width, components = (
        data[0],
        int.from_bytes(data[1:3], "big"),
        int.from_bytes(data[3:5], "big"),
        data[5],
    )
    kind = _FRAMES[marker]
    if marker in _UNSUPPORTED_FRAMES:
        article = "an" if kind[0] == "a" else "a"
        return unsupported(f"{article} {kind} JPEG")
    if bits != 8:
        lossless = marker == 0xC3
        if bits == 12 or (lossless and 2 <= bits <= 16):
            return unsupported(
                f"a {kind} JPEG with {format_count(bits, 'bit')} per sample, only 8 are supported"
            )
        return corrupt(f"the JPEG declares {format_count(bits, 'bit')} per sample")
    if not width:
        return corrupt("the JPEG declares a width of 0 pixels")
    if not height:
        return unsupported("a JPEG whose height is stored after the first scan (DNL)")
    if components not in (1, 3, 4):
        if components == 0 or len(data) < 6 + 3 * components:
            return corrupt(f"the JPEG declares {components} color components")
        return unsupported(
            f"a JPEG with {components} color components, only 1, 3 or 4 are supported"
        )
    return None
