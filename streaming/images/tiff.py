"""The structure of a TIFF or BigTIFF file: choose the page that is the image, leave out metadata, explain problems.

Pillow and libtiff read the first directory of a file. To make them read another one, or one with other fields, the
functions here return a copy of the file with another first directory; the compressed data stays in its place.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from streaming.images.problems import Problem, corrupt, truncated, unsupported

# Fields
NEW_SUBFILE_TYPE = 254
SUBFILE_TYPE = 255
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, STRIP_BYTES, PLANAR = 273, 277, 279, 284
COLOR_MAP = 320
TILE_OFFSETS, TILE_BYTES = 324, 325
SUB_DIRECTORIES = 330
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339

_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
#: Fields that decide pixels: those of baseline TIFF and of the compressions, orientation, EXIF and the color profile.
_PIXEL_FIELDS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 284, 290, 291, 292, 293}
    | {317, 320, 322, 323, 324, 325, 332, 334, 338, 339, 340, 341, 347, *range(512, 522)}
    | {529, 530, 531, 532, 34675, 50674}
)
#: Size of a value in bytes, and its format for `struct`.
_TYPES = {
    1: (1, "B"),
    2: (1, "B"),
    3: (2, "H"),
    4: (4, "I"),
    6: (1, "b"),
    7: (1, "B"),
    8: (2, "h"),
    9: (4, "i"),
    13: (4, "I"),
    16: (8, "Q"),
    17: (8, "q"),
    18: (8, "Q"),
}
_SIZES = {kind: size for kind, (size, _) in _TYPES.items()} | {5: 8, 10: 8, 11: 4, 12: 8}
_MAX_DIRECTORIES = 256
_COMPRESSIONS = {
    1: "uncompressed",
    2: "CCITT RLE",
    3: "CCITT fax 3",
    4: "CCITT fax 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "Deflate",
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT RLE",
    32771: "CCITT RLE/W",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "Deflate",
    34661: "JBIG",
    34676: "SGILog",
    34677: "SGILog24",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL of DNG",
}
#: Compressions that Pillow passes to libtiff, which may lack them.
_UNREADABLE = {9, 10, 34661, 34676, 34677, 34712, 34892, 50002, 52546}
_PHOTOMETRICS = {
    0: "grayscale",
    1: "grayscale",
    2: "RGB",
    3: "palette",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "raw sensor (CFA)",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
_SAMPLE_FORMATS = {
    1: "integer",
    2: "signed integer",
    3: "floating-point",
    4: "untyped",
    5: "complex integer",
    6: "complex floating-point",
}


@dataclass(frozen=True)
class Directory:
    """The fields of one page.

    Attributes
    ----------
    order : str
        Byte order, ``<`` or ``>``.
    position : int
        Where the directory begins in the file.
    fields : dict of int to tuple
        Type, and values as stored, of each field that is complete.
    next : int
        Position of the next directory; 0 for the last one.
    damaged : frozenset of int
        Fields whose values lie outside of the file.
    """

    order: str
    position: int
    fields: dict[int, tuple[int, int, bytes]] = field(repr=False)
    next: int
    damaged: frozenset[int] = frozenset()

    def values(self, tag: int) -> tuple[int, ...]:
        """Return the integers of a field; empty if the field is absent or not of integers."""
        kind, count, data = self.fields.get(tag, (0, 0, b""))
        if kind not in _TYPES:
            return ()
        return struct.unpack(f"{self.order}{count}{_TYPES[kind][1]}", data)

    def value(self, tag: int, default: int = 0) -> int:
        """Return the first integer of a field."""
        found = self.values(tag)
        return found[0] if found else default

    @property
    def is_image(self) -> bool:
        """Whether the page is neither a reduced version nor a mask of another one."""
        return not (
            self.value(NEW_SUBFILE_TYPE) & _REDUCED_OR_MASK or self.value(SUBFILE_TYPE, 1) == 2
        )


def is_big(content: bytes) -> bool:
    """Return whether a file is a BigTIFF."""
    return content[:4] in (b"II\x2b\x00", b"MM\x00\x2b")


def read_directory(content: bytes, position: int) -> Directory:
    """Parse the directory at a position.

    Raises
    ------
    EOFError
        If it extends beyond the end of the file.
    """
    order = "<" if content.startswith(b"II") else ">"
    count_size, entry_size, inline, word = (8, 20, 8, "Q") if is_big(content) else (2, 12, 4, "I")
    count = int.from_bytes(
        content[position : position + count_size], "little" if order == "<" else "big"
    )
    start = position + count_size
    end = start + count * entry_size
    if position + count_size > len(content) or end > len(content):
        raise EOFError
    fields: dict[int, tuple[int, int, bytes]] = {}
    damaged = set()
    for entry in range(start, end, entry_size):
        tag, kind, number = struct.unpack_from(f"{order}HH{word}", content, entry)
        if kind not in _SIZES or tag in fields:
            continue
        size = _SIZES[kind] * number
        offset = entry + entry_size - inline
        if size > inline:
            (offset,) = struct.unpack_from(f"{order}{word}", content, offset)
        if offset + size > len(content):
            damaged.add(tag)
        else:
            fields[tag] = (kind, number, content[offset : offset + size])
    following = content[end : end + inline]
    next_position = int.from_bytes(following, "little" if order == "<" else "big")
    return Directory(order, position, fields, next_position, frozenset(damaged))


def first_position(content: bytes) -> int:
    """Return the position of the first directory, as the header declares it."""
    order = "<" if content.startswith(b"II") else ">"
    found: tuple[int] = struct.unpack_from(
        f"{order}Q" if is_big(content) else f"{order}I", content, 8 if is_big(content) else 4
    )
    return found[0]


def directories(content: bytes) -> list[Directory]:
    """Return the directories that can be read, in the order of the file, without sub-directories."""
    found: list[Directory] = []
    seen = set()
    try:
        position = first_position(content)
        while position and position not in seen and len(found) < _MAX_DIRECTORIES:
            seen.add(position)
            found.append(read_directory(content, position))
            position = found[-1].next
    except (EOFError, struct.error):
        pass
    return found


def image_directory(content: bytes) -> Directory | None:
    """Return the first page that is not a reduced version or a mask, or the first page if all are.

    If no page of the file is, the sub-directories of the first page are searched: a preview may precede the image.
    """
    pages = directories(content)
    for page in pages:
        if page.is_image:
            return page
    for page in pages:
        for position in page.values(SUB_DIRECTORIES)[:_MAX_DIRECTORIES]:
            try:
                found = read_directory(content, position)
            except (EOFError, struct.error):
                continue
            if found.is_image and found.value(WIDTH):
                return found
    return pages[0] if pages else None


def with_directory(content: bytes, directory: Directory) -> bytes:
    """Return the file as a classic TIFF in the same byte order with this directory only."""
    order = directory.order
    start = len(content) + len(content) % 2
    entries, values = [], b""
    after = start + 2 + 12 * len(directory.fields) + 4
    for tag, (kind, count, data) in sorted(directory.fields.items()):
        if kind in (16, 18):  # 8-byte integers exist in BigTIFF only
            data = struct.pack(f"{order}{count}I", *struct.unpack(f"{order}{count}Q", data))
            kind = 4
        stored = data.ljust(4, b"\0")
        if len(data) > 4:
            values += bytes((after + len(values)) % 2)
            stored = struct.pack(f"{order}I", after + len(values))
            values += data
        entries.append(struct.pack(f"{order}HHI", tag, kind, count) + stored)
    header = struct.pack(f"{order}2sHI", content[:2], 42, start)
    table = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return b"".join([header, content[8:], bytes(start - len(content)), table, values])


def strip_metadata(content: bytes) -> bytes | None:
    """Return the file with only the first page and the fields that decide pixels."""
    pages = directories(content)
    if not pages:
        return None
    kept = {tag: value for tag, value in pages[0].fields.items() if tag in _PIXEL_FIELDS}
    return with_directory(content, replace(pages[0], fields=kept))


def find_problem(content: bytes, opened: bool) -> Problem | None:
    """Return why a TIFF file is not decoded, as far as its structure shows it.

    Parameters
    ----------
    content : bytes
        The file.
    opened : bool
        Whether Pillow supports the combination of fields.
    """
    try:
        position = first_position(content)
    except struct.error:
        return truncated("the file ends inside the header of a TIFF")
    try:
        page = read_directory(content, position)
    except (EOFError, struct.error):
        if position >= len(content):
            return truncated("the file ends before the directory of the TIFF")
        return truncated("the file ends inside the directory of the TIFF")
    page = image_directory(content) or page
    if page.damaged & {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES, COLOR_MAP, BITS}:
        return truncated("the file ends before a table of the TIFF")
    width, height = page.value(WIDTH), page.value(HEIGHT)
    if not width or not height:
        return corrupt("the TIFF declares no width or height")
    missing = _missing_data(page, len(content))
    return _variant_problem(page, opened) or missing


def _missing_data(page: Directory, length: int) -> Problem | None:
    offsets = page.values(STRIP_OFFSETS) or page.values(TILE_OFFSETS)
    counts = page.values(STRIP_BYTES) or page.values(TILE_BYTES)
    if not offsets:
        return corrupt("the TIFF does not declare where its pixels are")
    ends = [start + count for start, count in zip(offsets, counts, strict=False)] or offsets
    if max(ends) > length:
        return truncated("the file ends before the last pixels of the TIFF")
    return None


def _variant_problem(page: Directory, opened: bool) -> Problem | None:
    """Return the problem of valid fields with unusual values."""
    compression, photometric = page.value(COMPRESSION, 1), page.value(PHOTOMETRIC)
    bits = page.values(BITS) or (1,)
    samples = page.value(SAMPLES, 1)
    formats = page.values(SAMPLE_FORMAT) or (1,)
    if compression not in _COMPRESSIONS:
        return unsupported(f"a TIFF with compression number {compression}")
    if photometric not in _PHOTOMETRICS:
        return unsupported(f"a TIFF with photometric interpretation {photometric}")
    kind = _SAMPLE_FORMATS.get(formats[0])
    if kind is None:
        return corrupt(f"the TIFF declares sample format {formats[0]}")
    if len(bits) not in (1, samples) or not samples:
        return corrupt(f"the TIFF declares {samples} samples, and {len(bits)} bit depths")
    description = (
        f"a TIFF with {samples} {kind} {'samples' if samples > 1 else 'sample'} of "
        f"{'/'.join(map(str, dict.fromkeys(bits)))} bits per pixel, {_PHOTOMETRICS[photometric]}, "
        f"{_COMPRESSIONS[compression]}"
    )
    if page.value(PLANAR, 1) == 2 and samples > 1:
        description += ", in separate planes"
    if max(bits) > 64 or samples > 64 or not min(bits):
        return corrupt(f"the TIFF declares {samples} samples of {max(bits)} bits")
    return None if opened and compression not in _UNREADABLE else unsupported(description)
