"""The structure of BMP, GIF and WebP files: missing bytes, unsupported variants, and metadata that may be left out."""

from __future__ import annotations

import struct

from streaming.counts import format_count
from streaming.images.problems import Problem, corrupt, truncated, unsupported

_BMP_COMPRESSIONS = {
    1: "8-bit run-length",
    2: "4-bit run-length",
    4: "JPEG",
    5: "PNG",
    11: "CMYK",
    12: "CMYK run-length",
    13: "CMYK run-length",
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)


def find_bmp_problem(content: bytes, opened: bool) -> Problem | None:
    """Return why a BMP file is not decoded, as far as its structure shows it.

    Parameters
    ----------
    content : bytes
        The file.
    opened : bool
        Whether Pillow supports the combination of header fields.
    """
    header = int.from_bytes(content[14:18], "little")
    if len(content) < 18 or (len(content) < 14 + header and header <= 124):
        return truncated("the file ends inside the header of the BMP")
    if header not in _BMP_HEADERS:
        if 16 <= header <= 64:
            return unsupported(f"a BMP with an OS/2 header of {header} bytes")
        return corrupt(f"the BMP declares a header of {format_count(header, 'byte')}")
    if header == 12:
        width, height, bits = (*struct.unpack_from("<HH", content, 18), content[24])
        compression, size = 0, 0
    else:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", content, 18)
    if width <= 0 or not height:
        return corrupt(f"the BMP declares a size of {width} x {height} pixels")
    if header == 64 and compression in (3, 4):
        name = "Huffman" if compression == 3 else "24-bit run-length"
        return unsupported(f"a BMP of OS/2 with {name} compression")
    if not opened:
        if bits not in (1, 2, 4, 8, 16, 24, 32, 64):
            if bits == 0 and compression in (4, 5):
                return unsupported(f"a BMP that contains a {_BMP_COMPRESSIONS[compression]}")
            return corrupt(f"the BMP declares {format_count(bits, 'bit')} per pixel")
        if compression in (3, 6):
            return unsupported(
                f"a BMP of {format_count(bits, 'bit')} per pixel with unusual color masks"
            )
        if compression in _BMP_COMPRESSIONS:
            name = _BMP_COMPRESSIONS[compression]
            return unsupported(
                f"a BMP of {format_count(bits, 'bit')} per pixel with {name} compression"
            )
        if compression:
            return corrupt(f"the BMP declares compression number {compression}")
        if bits in (2, 64):
            return unsupported(f"a BMP with {format_count(bits, 'bit')} per pixel")
    offset = int.from_bytes(content[10:14], "little")
    if compression in (1, 2):
        if offset + size > len(content):
            return truncated("the file ends before the last pixels of the BMP")
        return None
    if offset + (width * bits + 31) // 32 * 4 * abs(height) > len(content):
        return truncated("the file ends before the last pixels of the BMP")
    return None


def find_gif_problem(content: bytes) -> Problem | None:
    """Return why a GIF file is not decoded: the first frame is incomplete or absent."""
    if len(content) < 13:
        return truncated("the file ends inside the header of the GIF")
    position = 13 + _color_table_size(content[10])
    while position < len(content):
        kind = content[position]
        if kind == 0x3B:
            return corrupt("the GIF contains no image")
        if kind == 0x21:
            position = _after_blocks(content, position + 2)
        elif kind == 0x2C:
            if position + 10 > len(content):
                break
            position += 10 + _color_table_size(content[position + 9]) + 1
            if _after_blocks(content, position) > len(content):
                break
            return None
        else:
            return corrupt("the GIF contains an unknown block before its first image")
    return truncated("the file ends before the last pixels of the GIF")


def _color_table_size(flags: int) -> int:
    """Return the bytes of a GIF color table, by the flags of the header or of a frame."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _after_blocks(content: bytes, position: int) -> int:
    """Return the position after a sequence of GIF data blocks, beyond the end if it is incomplete."""
    while position < len(content):
        size = content[position]
        position += 1 + size
        if not size:
            return position
    return len(content) + 1


def find_webp_problem(content: bytes) -> Problem | None:
    """Return why a WebP file is not decoded, as far as its structure shows it."""
    declared = 8 + int.from_bytes(content[4:8], "little")
    if len(content) < max(declared, 20):
        return truncated("the file is shorter than the WebP declares")
    position = 12
    kinds = set()
    while position + 8 <= declared:
        size = int.from_bytes(content[position + 4 : position + 8], "little")
        kinds.add(content[position : position + 4])
        position += 8 + size + size % 2
    if position > declared + 1:
        return corrupt("the WebP contains a chunk that is longer than the file")
    if not kinds & {b"VP8 ", b"VP8L", b"ANMF"}:
        return corrupt("the WebP contains no image")
    return None


def strip_webp_metadata(content: bytes) -> bytes | None:
    """Return a WebP without color profile, EXIF, XMP and unknown chunks: libwebp rejects a file with damaged ones."""
    parts = []
    position = 12
    while position + 8 <= len(content):
        size = int.from_bytes(content[position + 4 : position + 8], "little")
        kind = content[position : position + 4]
        end = position + 8 + size + size % 2
        chunk = content[position:end]
        if kind == b"VP8X" and size >= 10:
            # Flags: 16 alpha, 2 animation.
            parts.append(chunk[:8] + bytes([chunk[8] & 0x12]) + chunk[9:])
        elif kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            if end > len(content) + 1:
                return None
            parts.append(chunk)
        position = end
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + len(body).to_bytes(4, "little") + body if parts else None


def strip_gif_extensions(content: bytes) -> bytes | None:
    """Return a GIF with its first frame only, and of the extensions only the graphic control that precedes it."""
    position = start = 13 + (_color_table_size(content[10]) if len(content) > 12 else 0)
    control = b""
    while position < len(content):
        kind = content[position]
        if kind == 0x21:
            end = _after_blocks(content, position + 2)
            if content[position + 1 : position + 3] == b"\xf9\x04":
                control = content[position:end]
            position = end
        elif kind == 0x2C and position + 10 <= len(content):
            stripped = b"".join([content[:start], control, content[position:]])
            return stripped if len(stripped) < len(content) else None
        else:
            return None
    return None
