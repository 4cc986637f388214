"""Tests for `streaming.images.diagnosis`: damaged or oversized metadata does not cost an image."""

from __future__ import annotations

import csv
import importlib.util
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from streaming.images.decode import DecodeSettings, decode
from streaming.outcomes import Reason
from support.images.image_files import SIDE, decode_pixels, encode, photo, reason_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # from Pillow, for invalid metadata
TWO_MEGABYTES = zlib.compress(bytes(2 * 2**20))


def png_chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


PNG_CHUNKS = {
    "zTXt of 2 MB": png_chunk(b"zTXt", b"Comment\0\0" + TWO_MEGABYTES),
    "zTXt without data": png_chunk(b"zTXt", b""),
    "zTXt with an unknown method": png_chunk(b"zTXt", b"Comment\0\7" + TWO_MEGABYTES),
    "zTXt that is not compressed": png_chunk(b"zTXt", b"Comment\0\0nonsense"),
    "many zTXt": png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 70,
    "iTXt of 2 MB": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + TWO_MEGABYTES),
    "iTXt without separators": png_chunk(b"iTXt", b"Comment"),
    "iTXt that is not compressed": png_chunk(b"iTXt", b"Comment\0\1\0\0\0nonsense"),
    "tEXt with a wrong checksum": png_chunk(b"tEXt", b"Comment\0text", checksum=1),
    "unknown chunk with a wrong checksum": png_chunk(b"abCd", b"data", checksum=1),
    "iCCP of 2 MB": png_chunk(b"iCCP", b"icc\0\0" + TWO_MEGABYTES),
    "iCCP without data": png_chunk(b"iCCP", b""),
    "iCCP that is not compressed": png_chunk(b"iCCP", b"icc\0\0nonsense"),
    "gAMA of 2 bytes": png_chunk(b"gAMA", b"\0\0"),
    "cHRM of 3 bytes": png_chunk(b"cHRM", b"\0\0\0"),
    "sRGB without data": png_chunk(b"sRGB", b""),
    "pHYs of 3 bytes": png_chunk(b"pHYs", b"\0\0\0"),
    "tRNS of 3 bytes": png_chunk(b"tRNS", b"\0\0\0"),
    "eXIf without data": png_chunk(b"eXIf", b""),
    "acTL of 1 byte": png_chunk(b"acTL", b"\0"),
    "tIME of 1 byte": png_chunk(b"tIME", b"\0"),
}


@pytest.mark.parametrize("name", PNG_CHUNKS)
def test_png_with_damaged_metadata_decodes(name: str) -> None:
    content = encode(photo(), "PNG")
    for end in (33, len(content) - 12):  # after the header, and after the pixels
        changed = content[:end] + PNG_CHUNKS[name] + content[end:]
        np.testing.assert_array_equal(decode_pixels(changed), np.asarray(photo()))


def test_png_keeps_transparency_and_orientation_when_other_metadata_is_left_out() -> None:
    image = photo(SIDE, SIDE // 2)
    rotated = np.rot90(np.asarray(image), -1)
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    content = encode(image, "PNG", exif=exif, transparency=image.getpixel((3, 2)))
    changed = content[:33] + PNG_CHUNKS["gAMA of 2 bytes"] + content[33:]
    decoded = decode(changed, DecodeSettings(SIDE, 1.0, 0.0))
    assert (decoded.width, decoded.height) == (SIDE // 2, SIDE)
    intact = decode(content, DecodeSettings(SIDE, 1.0, 0.0))
    np.testing.assert_array_equal(decoded.pixels, intact.pixels)
    assert (rotated == image.getpixel((3, 2))).all(2).any()


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


JPEG_SEGMENTS = {
    "JFIF of 5 bytes": segment(0xE0, b"JFIF\0"),
    "JFIF of 6 bytes": segment(0xE0, b"JFIF\0\1"),
    "Adobe of 5 bytes": segment(0xEE, b"Adobe"),
    "Adobe of 7 bytes": segment(0xEE, b"Adobe\0d"),
    "profile without numbers": segment(0xE2, b"ICC_PROFILE\0"),
    "profile with half of the numbers": segment(0xE2, b"ICC_PROFILE\0\1"),
    "profile without data": segment(0xE2, b"ICC_PROFILE\0\1\1"),
    "MPF without data": segment(0xE2, b"MPF\0"),
    "EXIF without data": segment(0xE1, b"Exif\0\0"),
    "XMP without data": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
    "Photoshop resource of 1 byte": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\1a"),
    "empty segments": b"".join(segment(marker, b"") for marker in (*range(0xE0, 0xF0), 0xFE)),
}


@pytest.mark.parametrize("name", JPEG_SEGMENTS)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_with_damaged_metadata_decodes(name: str, mode: str) -> None:
    content = encode(photo().convert(mode), "JPEG")
    changed = content[:2] + JPEG_SEGMENTS[name] + content[2:]
    np.testing.assert_array_equal(decode_pixels(changed), decode_pixels(content))


@pytest.mark.slow
def test_large_jpeg_with_damaged_metadata_decodes_at_reduced_resolution() -> None:
    content = encode(photo(1800, 1800), "JPEG")
    changed = content[:2] + JPEG_SEGMENTS["JFIF of 5 bytes"] + content[2:]
    settings = DecodeSettings()
    np.testing.assert_array_equal(
        decode(changed, settings).pixels, decode(content, settings).pixels
    )


def riff_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


@pytest.mark.parametrize(
    "chunk",
    [
        riff_chunk(b"ICCP", b""),
        riff_chunk(b"EXIF", b""),
        riff_chunk(b"EXIF", b"nonsense"),
        riff_chunk(b"XMP ", b"\xff"),
        riff_chunk(b"VP8X", b"\0"),
        riff_chunk(b"abcd", b"data"),
    ],
    ids=lambda chunk: f"{chunk[:4].decode()} {len(chunk) - 8}",
)
@pytest.mark.parametrize("where", ["first", "last"])
def test_webp_with_damaged_metadata_decodes(chunk: bytes, where: str) -> None:
    content = encode(photo(), "WEBP")
    header = riff_chunk(b"VP8X", struct.pack("<I", 0x2C) + struct.pack("<I", SIDE - 1)[:3] * 2)
    body = content[12:]
    parts = header + (chunk + body if where == "first" else body + chunk)
    changed = b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WEBP" + parts
    np.testing.assert_array_equal(decode_pixels(changed), decode_pixels(content))


def tiff_with_field(content: bytes, tag: int, kind: int, count: int, value: int) -> bytes:
    """Append a field to the first directory of a little-endian TIFF."""
    (start,) = struct.unpack_from("<I", content, 4)
    (number,) = struct.unpack_from("<H", content, start)
    entries = content[start + 2 : start + 2 + 12 * number]
    entries += struct.pack("<HHII", tag, kind, count, value)
    ordered = sorted(entries[i : i + 12] for i in range(0, len(entries), 12))
    ordered.sort(key=lambda entry: struct.unpack_from("<H", entry))
    directory = struct.pack("<H", number + 1) + b"".join(ordered) + bytes(4)
    return content[:4] + struct.pack("<I", len(content)) + content[8:] + directory


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize(
    "field",
    [
        (700, 1, 5000, 10**9),  # XMP beyond the end
        (700, 7, 2**31, 8),
        (34675, 7, 5000, 10**9),  # color profile
        (34675, 7, 0, 0),
        (34665, 4, 1, 10**9),  # EXIF
        (34665, 4, 1, 1),
        (34853, 4, 1, 8),  # GPS
        (33723, 7, 10**6, 8),  # IPTC
        (282, 5, 1, 10**9),  # XResolution
        (282, 3, 1, 7),
        (296, 3, 1, 9),  # ResolutionUnit
        (306, 2, 99, 10**9),  # DateTime
        (315, 2, 4, 0xFFFFFFFF),  # Artist
        (50341, 7, 14, 8),  # PrintImageMatching
        (37724, 7, 50, 10**9),  # Photoshop
        (65000, 99, 1, 0),  # unknown
    ],
    ids=lambda field: f"{field[0]}-{field[1]}-{field[2]}",
)
def test_tiff_with_damaged_metadata_decodes(
    field: tuple[int, int, int, int], compression: str
) -> None:
    content = encode(photo(), "TIFF", compression=compression)
    changed = tiff_with_field(content, *field)
    np.testing.assert_array_equal(decode_pixels(changed), np.asarray(photo()))


@pytest.mark.parametrize(
    "extension",
    [
        b"!\xff\x00",
        b"!\xff\x0bNETSCAPE2.0\x01\x01\x00",
        b"!\xff\x03abc\x00",
        b"!\xfe\x00",
        b"!\xfe\x05hello\x00",
        b"!\x01\x00",
        b"!\xf9\x00",
        b"!\xf9\x01\x01\x00",
    ],
)
def test_gif_with_damaged_extension_decodes(extension: bytes) -> None:
    content = encode(photo().quantize(64), "GIF")
    start = 13 + (3 << (content[10] & 7) + 1)
    expected = np.asarray(photo().quantize(64).convert("RGB"))
    for position in (start, len(content) - 1):
        changed = content[:position] + extension + content[position:]
        np.testing.assert_array_equal(decode_pixels(changed), expected)


@pytest.mark.parametrize("kind", [b"xml ", b"uuid", b"uinf", b"jp2i", b"free"])
def test_jpeg2000_with_other_boxes_decodes(kind: bytes) -> None:
    content = encode(photo(), "JPEG2000")
    header, pixels = content.index(b"jp2h") - 4, content.index(b"jp2c") - 4
    for position in (header, pixels):
        for data in (b"", b"\xff" * 30):
            box = struct.pack(">I", 8 + len(data)) + kind + data
            changed = content[:position] + box + content[position:]
            np.testing.assert_array_equal(decode_pixels(changed), decode_pixels(content))


@pytest.mark.parametrize("size", [0, 3, 9, 10])
def test_jpeg2000_with_damaged_resolution_decodes(size: int) -> None:
    content = encode(photo(), "JPEG2000")
    start, end = content.index(b"jp2h") - 4, content.index(b"jp2c") - 4
    resolution = struct.pack(">I4s", 8 + size, b"resc") + bytes(size)
    inner = (
        content[start + 8 : end] + struct.pack(">I4s", 8 + len(resolution), b"res ") + resolution
    )
    header = struct.pack(">I4s", 8 + len(inner), b"jp2h") + inner
    changed = content[:start] + header + content[end:]
    np.testing.assert_array_equal(decode_pixels(changed), decode_pixels(content))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "JPEG2000", "AVIF"])
def test_trailing_bytes_are_ignored(name: str) -> None:
    content = encode(photo(), name)
    for junk in (bytes(4096), b"\xff" * 100, os.urandom(1), content):
        np.testing.assert_array_equal(decode_pixels(content + junk), decode_pixels(content))


def test_odd_images_show_the_expected_picture(shared: Path) -> None:
    folder = shared / "data" / "odd-images-2"
    rows = list(csv.DictReader((folder / "manifest.csv").open()))
    settings = DecodeSettings(96, 1.0, 0.0)
    picture = decode((folder / "bmp-alpha-everywhere.bmp").read_bytes(), settings).pixels
    for row in rows:
        content = (folder / row["file"]).read_bytes()
        if row["expected"] != "decodes":
            # A HEIF brand, and zeros instead of an image.
            installed = importlib.util.find_spec("pillow_heif")
            expected = Reason.CORRUPT if installed else Reason.UNSUPPORTED
            assert reason_of(content, settings) == expected, row["file"]
            continue
        decoded = decode(content, settings)
        assert f"{decoded.width}x{decoded.height}" == row["size"]
        limit = 60 if row["file"].endswith("jpg") else 0
        assert np.abs(decoded.pixels - picture).max() <= limit, row["file"]
