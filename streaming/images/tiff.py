"""The structure of a TIFF or BigTIFF file: choose the page that is the image, leave out metadata, explain problems.

Pillow and libtiff read the first directory of a file. To make them read another one, or one with other fields, the
functions here return a copy of the file with another first directory; the compressed data stays in its place.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImagePalette, TiffImagePlugin

from streaming.counts import format_count
from streaming.images.problems import Problem, corrupt, truncated, unsupported

# Fields
NEW_SUBFILE_TYPE = 254
SUBFILE_TYPE = 255
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_BYTES, PLANAR = 273, 274, 277, 279, 284
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
#: Bytes of a value of each type, and NumPy's name of the integers.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_TYPES = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 13: "u4"}
_TYPES |= {16: "u8", 17: "i8", 18: "u8"}
_LONG, _SHORT = 4, 3
_LAB = 8
# Limits for invalid files: directories of a file, and fields of one.
_MAX_DIRECTORIES = 64
_MAX_FIELDS = 4096
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
_UNREADABLE = {9, 10, 34661, 34676, 34677, 34712, 34887, 34892, 50001, 50002, 52546}
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


class Field(NamedTuple):
    """A field: type and number of its values, and where they are in the file."""

    kind: int
    number: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return _SIZES[self.kind] * self.number


@dataclass(frozen=True)
class Directory:
    """The fields of one page.

    Attributes
    ----------
    content : bytes
        The file.
    order : str
        Byte order, ``<`` or ``>``.
    fields : dict of int to Field
        The fields whose values are in the file.
    next : int
        Position of the next directory; 0 for the last one.
    damaged : frozenset of int
        Fields whose values lie outside of the file.
    """

    content: bytes = field(repr=False)
    order: str
    fields: dict[int, Field]
    next: int
    damaged: frozenset[int] = frozenset()

    def values(self, tag: int) -> npt.NDArray[Any]:
        """Return the integers of a field; empty if the field is absent or not of integers."""
        found = self.fields.get(tag)
        if found is None or found.kind not in _TYPES:
            return np.empty(0, np.uint8)
        kind = np.dtype(self.order + _TYPES[found.kind])
        return np.frombuffer(self.content, kind, found.number, found.offset)

    def value(self, tag: int, default: int = 0) -> int:
        """Return the first integer of a field."""
        found = self.values(tag)
        return int(found[0]) if found.size else default

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
    ValueError
        If it has more fields than any valid file.
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
    if count > _MAX_FIELDS:
        raise ValueError(f"{count} fields")
    fields: dict[int, Field] = {}
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
            fields[tag] = Field(kind, number, offset)
    following = content[end : end + inline]
    next_position = int.from_bytes(following, "little" if order == "<" else "big")
    return Directory(content, order, fields, next_position, frozenset(damaged))


def first_position(content: bytes) -> int:
    """Return the position of the first directory, as the header declares it."""
    order = "<" if content.startswith(b"II") else ">"
    found: tuple[int] = struct.unpack_from(
        f"{order}Q" if is_big(content) else f"{order}I", content, 8 if is_big(content) else 4
    )
    return found[0]


def directories(content: bytes) -> Iterator[Directory]:
    """Yield the directories that can be read, in the order of the file, without sub-directories."""
    seen: set[int] = set()
    try:
        position = first_position(content)
        while position and position not in seen and len(seen) < _MAX_DIRECTORIES:
            seen.add(position)
            page = read_directory(content, position)
            yield page
            position = page.next
    except (EOFError, ValueError, struct.error):
        return


def image_directory(pages: list[Directory]) -> Directory:
    """Return the first page that is not a reduced version or a mask, or the first page if all are.

    If no page of the file is, the sub-directories of the pages are searched: a preview may precede the image.
    """
    for page in pages:
        if page.is_image:
            return page
    for page in pages:
        for position in page.values(SUB_DIRECTORIES)[:_MAX_DIRECTORIES].tolist():
            try:
                found = read_directory(page.content, position)
            except (EOFError, ValueError, struct.error):
                continue
            if found.is_image and found.value(WIDTH):
                return found
    return pages[0]


def with_fields(
    page: Directory,
    changes: Mapping[int, Sequence[int]] | None = None,
    *,
    only_pixels: bool = False,
) -> bytes:
    """Return the file as a classic TIFF in the same byte order whose only page has these fields.

    Parameters
    ----------
    page : Directory
        The fields to keep. Their values must not be larger than the file in total.
    changes : mapping of int to sequence of int, optional
        Fields with other values; an empty sequence removes the field.
    only_pixels : bool, default=False
        Leave out the fields that decide no pixel.
    """
    order, content = page.order, page.content
    changes = changes or {}
    start = len(content) + len(content) % 2
    kept = {
        tag: found
        for tag, found in page.fields.items()
        if tag not in changes and (not only_pixels or tag in _PIXEL_FIELDS)
    }
    if sum(found.size for found in kept.values()) > len(content):
        raise ValueError("fields overlap")
    encoded = {tag: _encode(page, tag, found) for tag, found in kept.items()}
    for tag, values in changes.items():
        if len(values):
            kind = (
                _LONG if tag in (STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES) else _SHORT
            )
            data = np.asarray(values).astype(order + _TYPES[kind]).tobytes()
            encoded[tag] = (kind, len(values), data)
    entries, after = [], start + 2 + 12 * len(encoded) + 4
    tail = bytearray()
    for tag, (kind, count, data) in sorted(encoded.items()):
        stored = data.ljust(4, b"\0")
        if len(data) > 4:
            tail += bytes(len(tail) % 2)
            stored = struct.pack(f"{order}I", after + len(tail))
            tail += data
        entries.append(struct.pack(f"{order}HHI", tag, kind, count) + stored)
    header = struct.pack(f"{order}2sHI", content[:2], 42, start)
    table = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return b"".join([header, content[8:], bytes(start - len(content)), table, tail])


def _encode(page: Directory, tag: int, found: Field) -> tuple[int, int, bytes]:
    """Return type, count and values of a field for a classic TIFF, which has no 8-byte integers."""
    if found.kind in (16, 17, 18):
        return _LONG, found.number, page.values(tag).astype(page.order + "u4").tobytes()
    return found.kind, found.number, page.content[found.offset : found.offset + found.size]


def strip_metadata(content: bytes) -> bytes | None:
    """Return the file with only the first page and the fields that decide pixels."""
    first = next(directories(content), None)
    return with_fields(first, only_pixels=True) if first else None


def with_image_first(content: bytes, revision: int) -> bytes:
    """Return a file whose first page is the image, which Pillow can read.

    A reduced-resolution page is not the image (from decoder revision 3 on). Pillow does not read big-endian BigTIFF.
    """
    unreadable = content.startswith(b"MM\x00\x2b")
    if not unreadable and revision < 3:
        return content
    pages = directories(content)
    first = next(pages, None)
    if first is None or (first.is_image and not unreadable):
        return content
    page = image_directory([first, *pages]) if revision >= 3 else first
    if page is first and not unreadable:
        return content
    return with_fields(page, only_pixels=True)


def without_extra_planes(content: bytes) -> bytes:
    """Return a file without uncompressed planes of unspecified meaning, which Pillow does not read."""
    page = next(directories(content), None)
    if page is None or page.value(PLANAR, 1) != 2 or page.value(COMPRESSION, 1) != 1:
        return content
    extra = page.values(EXTRA_SAMPLES)
    samples = page.value(SAMPLES, 1)
    bits = page.values(BITS)
    if not extra.size or extra.any() or not extra.size < samples or bits.size not in (1, samples):
        return content
    tables = _tables(page)
    count = page.values(tables[0]).size // samples * (samples - extra.size)
    changes = {tag: page.values(tag)[:count].tolist() for tag in tables}
    changes |= {SAMPLES: [samples - extra.size], EXTRA_SAMPLES: [], SAMPLE_FORMAT: []}
    changes[BITS] = bits[: samples - extra.size].tolist()
    return with_fields(page, changes, only_pixels=True)


def _tables(page: Directory) -> tuple[int, int]:
    """Return the fields with the offsets and lengths of the compressed data."""
    tiled = TILE_OFFSETS in page.fields
    return (TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)


def split_planes(content: bytes) -> list[bytes] | None:
    """Return a grayscale TIFF for each plane of the first page; None if Pillow decodes the planes correctly.

    Pillow takes uncompressed planes of 16 bits for 8 bits, the alpha of grayscale for a color, and signed colors of
    CIELab for unsigned ones.
    """
    page = next(directories(content), None)
    if page is None or page.value(PLANAR, 1) != 2:
        return None
    bits, samples = page.values(BITS), page.value(SAMPLES, 1)
    photometric = page.value(PHOTOMETRIC)
    wrong = photometric in (0, 1, _LAB) or (page.value(COMPRESSION, 1) == 1 and photometric != 6)
    if not 1 < samples <= 8 or not wrong or set(bits.tolist()) not in ({8}, {16}):
        return None
    tables = _tables(page)
    count = page.values(tables[0]).size // samples
    changes = {SAMPLES: [1], BITS: [page.value(BITS)], PLANAR: [1], PHOTOMETRIC: [1]}
    changes |= {EXTRA_SAMPLES: [], SAMPLE_FORMAT: [1], ORIENTATION: []}
    planes = []
    for start in range(0, count * samples, count):
        parts = {tag: page.values(tag)[start : start + count].tolist() for tag in tables}
        planes.append(with_fields(page, changes | parts, only_pixels=True))
    return planes


class TiffImageFile(TiffImagePlugin.TiffImageFile):
    """Pillow's plugin with corrections: separate planes, and palettes with 8-bit values."""

    def correct(self, content: bytes) -> None:
        """Prepare the corrections of an opened file; `content` is the file."""
        self.planes = split_planes(content)
        colors = self.tag_v2.get(COLOR_MAP) if self.mode in ("P", "PA") else None
        if colors and max(colors) < 256:  # libtiff makes the same assumption
            self.palette = ImagePalette.raw("RGB;L", bytes(colors))

    planes: list[bytes] | None = None

    def load(self) -> Any:
        """Decode the pixels."""
        if self.tile and self.planes:
            bands = []
            for plane in self.planes[: len(self.getbands())]:
                with TiffImagePlugin.TiffImageFile(io.BytesIO(plane)) as image:
                    band = np.asarray(image)
                bands.append(
                    Image.fromarray((band >> 8 if band.itemsize > 1 else band).astype("u1"))
                )
            if self.mode == "LAB":  # a and b are signed
                bands[1:] = [
                    band.point([value ^ 128 for value in range(256)]) for band in bands[1:]
                ]
            premultiplied = EXTRA_SAMPLES in self.tag_v2 and self.tag_v2[EXTRA_SAMPLES][0] == 1
            mode = "RGBa" if self.mode == "RGBA" and premultiplied else self.mode
            merged = Image.merge(mode, bands)
            if self.tag_v2.get(PHOTOMETRIC) == 0:  # white is zero
                merged = Image.merge(mode, [ImageChops.invert(bands[0]), *bands[1:]])
            self.im = merged.convert(self.mode).im if mode != self.mode else merged.im
            self.tile = []
            self.load_end()
        return super().load()


def open_image(content: bytes, revision: int) -> TiffImageFile:
    """Open the image of a file; from decoder revision 3 on, with the corrections of `TiffImageFile`."""
    content = with_image_first(content, revision)
    if revision >= 3:
        content = without_extra_planes(content)
    image = TiffImageFile(io.BytesIO(content), "")
    if revision >= 3:
        image.correct(content)
    return image


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
    except ValueError:
        return corrupt("the directory of the TIFF has an impossible number of fields")
    except (EOFError, struct.error):
        if position >= len(content):
            return truncated("the file ends before the directory of the TIFF")
        return truncated("the file ends inside the directory of the TIFF")
    page = image_directory(list(directories(content)) or [page])
    if page.damaged & {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES, COLOR_MAP, BITS}:
        return truncated("the file ends before a table of the TIFF")
    width, height = page.value(WIDTH), page.value(HEIGHT)
    if not width or not height:
        return corrupt("the TIFF declares no width or height")
    missing = _missing_data(page, len(content))
    variant = _variant_problem(page, opened)
    return missing if missing and opened else variant or missing


def _missing_data(page: Directory, length: int) -> Problem | None:
    offsets, counts = (page.values(tag).astype(float) for tag in _tables(page))
    if not offsets.size:
        return corrupt("the TIFF does not declare where its pixels are")
    number = min(offsets.size, counts.size)
    if max(offsets.max(), (offsets[:number] + counts[:number]).max(initial=0)) > length:
        return truncated("the file ends before the last pixels of the TIFF")
    return None


def _variant_problem(page: Directory, opened: bool) -> Problem | None:
    """Return the problem of valid fields with unusual values."""
    compression, photometric = page.value(COMPRESSION, 1), page.value(PHOTOMETRIC)
    bits = page.values(BITS).tolist() or [1]
    samples = page.value(SAMPLES, 1)
    formats = page.values(SAMPLE_FORMAT).tolist() or [1]
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
        return corrupt(
            f"the TIFF declares {format_count(samples, 'sample')} of {format_count(max(bits), 'bit')}"
        )
    readable = opened and compression not in _UNREADABLE | {1}  # nothing is corrupt in raw pixels
    return None if readable else unsupported(description)
