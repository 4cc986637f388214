"""The structure of files that consist of boxes: JPEG 2000, AVIF, HEIF and JPEG XL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from streaming.counts import format_count
from streaming.images.problems import Problem, corrupt, truncated, unsupported

#: Boxes of a JPEG 2000 header that decide pixels.
_JP2_PIXEL_BOXES = {b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef"}
#: Enumerated color spaces that are converted: bilevel, CMYK, sRGB, grayscale and sYCC.
_JP2_COLOR_SPACES = {0, 12, 15, 16, 17, 18}
_JP2_NAMES = {
    1: "YCbCr",
    3: "YCbCr",
    4: "YCbCr",
    9: "PhotoYCC",
    11: "CMY",
    13: "YCCK",
    14: "CIELab",
    19: "CIEJab",
    20: "e-sRGB",
    21: "ROMM-RGB",
    24: "e-sYCC",
}
#: Brands of HEIF files by the compression that they announce.
_HEIF_BRANDS = {
    b"heic": "HEVC",
    b"heix": "HEVC",
    b"heim": "HEVC",
    b"heis": "HEVC",
    b"hevc": "HEVC",
    b"hevx": "HEVC",
    b"hevm": "HEVC",
    b"hevs": "HEVC",
    b"avci": "AVC",
    b"avcs": "AVC",
    b"vvic": "VVC",
    b"vvis": "VVC",
    b"jpeg": "JPEG",
    b"j2ki": "JPEG 2000",
}
_GENERAL_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}
_AV1_BRANDS = {b"avif", b"avis"}


class Box(NamedTuple):
    """A box: its type, where it begins, where its content begins, and where it ends."""

    kind: bytes
    start: int
    payload: int
    end: int


def boxes(content: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes of a file or of a box; the last one extends beyond the end of a truncated file."""
    end = len(content) if end is None else end
    position = start
    while position < end:
        size = int.from_bytes(content[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        payload = position + 8
        if size == 1:
            size = int.from_bytes(content[payload : payload + 8], "big")
            payload += 8
        elif size == 0:
            size = end - position
        if size < payload - position:  # invalid; the rest cannot be parsed
            return
        yield Box(kind, position, payload, position + size)
        position += size


def find_box(content: bytes, kind: bytes, start: int = 0, end: int | None = None) -> Box | None:
    """Return the first box of a type in a file or in a box; None if there is none."""
    return next((box for box in boxes(content, start, end) if box.kind == kind), None)


def brands(content: bytes) -> set[bytes]:
    """Return the major and the compatible brands of an ISO base media file."""
    if content[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(content[:4], "big"), len(content), 4096)
    return {content[8:12]} | {content[i : i + 4] for i in range(16, end - 3, 4)}


def is_heif_without_av1(content: bytes) -> bool:
    """Return whether a file is HEIF with another compression than AV1, such as HEIC."""
    found = brands(content)
    return bool(found & (_HEIF_BRANDS.keys() | _GENERAL_BRANDS)) and not found & _AV1_BRANDS


def heif_problem(content: bytes) -> Problem | None:
    """Return the problem of a HEIF file with a compression other than HEVC, which it names."""
    names = sorted({_HEIF_BRANDS[brand] for brand in brands(content) & _HEIF_BRANDS.keys()})
    if not names or "HEVC" in names:
        return None
    return unsupported(f"a HEIF image ({'/'.join(names)} compression)")


def strip_jpeg2000_metadata(content: bytes) -> bytes | None:
    """Return a JP2 file with only the boxes that decide pixels; None for a bare codestream."""
    found = list(boxes(content))
    if not found or found[0].kind != b"jP  ":
        return None
    parts = []
    for box in found:
        if box.kind in (b"jP  ", b"ftyp", b"jp2c"):
            parts.append(content[box.start : box.end])
            if box.kind == b"jp2c":  # a second image may follow
                break
        elif box.kind == b"jp2h":
            inner = b"".join(
                content[part.start : part.end]
                for part in boxes(content, box.payload, box.end)
                if part.kind in _JP2_PIXEL_BOXES
            )
            parts.append((8 + len(inner)).to_bytes(4, "big") + b"jp2h" + inner)
    stripped = b"".join(parts)
    return stripped if len(stripped) < len(content) else None


def jpeg2000_color_problem(content: bytes) -> Problem | None:
    """Return the problem of a color space of a JPEG 2000 file that would be decoded to wrong colors."""
    if content.startswith(b"\xff\x4f"):
        return _subsampling_problem(content)
    header = find_box(content, b"jp2h")
    if header is None:
        return None
    colors = [box for box in boxes(content, header.payload, header.end) if box.kind == b"colr"]
    methods = [content[box.payload] for box in colors if box.payload < len(content)]
    if not methods or methods[0] != 1:  # with a profile
        return _subsampling_problem(content)
    box = colors[0]
    number = int.from_bytes(content[box.payload + 3 : box.payload + 7], "big")
    if number not in _JP2_COLOR_SPACES:
        name = _JP2_NAMES.get(number)
        return unsupported(f"a JPEG 2000 in the color space {name or f'number {number}'}")
    return _subsampling_problem(content)


def _subsampling_problem(content: bytes) -> Problem | None:
    """Return the problem of subsampled components whose tiles do not begin at a sample of each component.

    Pillow assembles such tiles with a shift of their chroma.
    """
    start = content.find(b"\xff\x4f\xff\x51")
    size = content[start + 4 :]
    if start < 0 or len(size) < 38:
        return None
    numbers = [int.from_bytes(size[i : i + 4], "big") for i in range(4, 36, 4)]
    width, height, left, top, tile_width, tile_height, tile_left, tile_top = numbers
    count = int.from_bytes(size[36:38], "big")
    steps = [(size[i + 1], size[i + 2]) for i in range(38, 38 + 3 * count, 3) if i + 2 < len(size)]
    across, down = (max((step[axis] for step in steps), default=1) for axis in (0, 1))
    if (across, down) == (1, 1):
        return None
    tiled = tile_left + tile_width < width or tile_top + tile_height < height
    aligned = not any((left % across, top % down, tile_width % across, tile_height % down))
    if tiled and not (aligned and not tile_left % across and not tile_top % down):
        return unsupported("a JPEG 2000 with subsampled colors in tiles of an odd size")
    return None


def find_problem(content: bytes) -> Problem | None:
    """Return why a file of boxes is not decoded, as far as its structure shows it."""
    if content.startswith(b"\xff\x4f"):
        return _codestream_problem(content, 0)
    found = list(boxes(content))
    name = {b"jP  ": "JPEG 2000", b"JXL ": "JPEG XL"}.get(content[4:8], "AVIF")
    if is_heif_without_av1(content):
        name = "HEIF"
    if not found or found[-1].end > len(content) or found[-1].payload > len(content):
        return truncated(f"the file ends inside a part (box) of the {name}")
    if found[-1].end < len(content):
        return corrupt(f"the {name} contains a part (box) of an impossible length")
    if name == "JPEG XL":
        return None
    if name in ("AVIF", "HEIF"):
        if b"meta" in {box.kind for box in found}:
            return None
        if found[-1].kind == b"ftyp":
            return truncated("the file ends before the description of the image")
        return corrupt(f"the {name} has no description of the image (meta box)")
    kinds = {box.kind: box for box in found}
    if b"jp2h" not in kinds:
        return corrupt("the JPEG 2000 has no header (jp2h box)")
    if b"jp2c" not in kinds:
        return truncated("the file ends before the pixels of the JPEG 2000")
    return jpeg2000_color_problem(content) or _codestream_problem(content, kinds[b"jp2c"].payload)


def _codestream_problem(content: bytes, start: int) -> Problem | None:
    """Return the problem of a JPEG 2000 codestream."""
    size = content[start + 4 :]
    if len(size) < 38:
        return truncated("the file ends inside the header of the JPEG 2000")
    components = int.from_bytes(size[36:38], "big")
    depths = {(size[i] & 0x7F) + 1 for i in range(38, 38 + 3 * components, 3) if i < len(size)}
    if components > 4:
        return unsupported(f"a JPEG 2000 with {format_count(components, 'component')}")
    if depths and max(depths) > 16:
        return unsupported(f"a JPEG 2000 with {format_count(max(depths), 'bit')} per sample")
    if b"\xff\xd9" not in content[-16:]:
        return truncated("the file ends without the end marker of a JPEG 2000")
    return None
