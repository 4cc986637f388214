"""Tests for `streaming.images.diagnosis`: valid variants are unsupported, and details name the problem."""

from __future__ import annotations

import base64
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from streaming.images.decode import SUPPORTED_REVISIONS, UndecodableImage, decode
from streaming.outcomes import Reason
from support.images.image_files import RAW, decode_pixels, encode, photo, png, reason_of

JPEG = encode(photo(), "JPEG")
FRAME = JPEG.index(b"\xff\xc0")
JP2 = encode(photo(), "JPEG2000")


def problem_of(content: bytes) -> tuple[Reason, str]:
    with pytest.raises(UndecodableImage) as caught:
        decode(content, RAW)
    detail = caught.value.detail
    assert not any(word in detail for word in ("Error", "Exception", "Traceback", "None"))
    return caught.value.reason, detail


def jpeg_with_frame(marker: int, bits: int = 8, height: int = 64, components: int = 3) -> bytes:
    """Return a JPEG with another frame header."""
    frame = struct.pack(">BBHBHHB", 0xFF, marker, 8 + 3 * components, bits, height, 64, components)
    frame += b"".join(bytes([number, 0x11, 0]) for number in range(1, components + 1))
    return JPEG[:FRAME] + frame + JPEG[FRAME + 19 :]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (jpeg_with_frame(0xC1, bits=12), "extended sequential JPEG with 12 bits"),
        (jpeg_with_frame(0xC3, bits=16), "lossless JPEG with 16 bits"),
        (jpeg_with_frame(0xCB), "an arithmetic-coded lossless JPEG"),
        (jpeg_with_frame(0xC5), "a hierarchical JPEG"),
        (jpeg_with_frame(0xC0, components=2), "2 color components"),
        (jpeg_with_frame(0xC0, height=0), "height is stored after the first scan"),
        (b"\xff\xd8\xff\xf7" + JPEG[FRAME + 2 :], "a JPEG-LS image"),
    ],
)
def test_jpeg_variant_is_unsupported(content: bytes, text: str) -> None:
    reason, detail = problem_of(content)
    assert reason is Reason.UNSUPPORTED
    assert text in detail


# Of a gray ramp of 16 x 16 pixels, encoded by Pillow with quality 60: what `jpegtran -arithmetic` makes of its scan,
# and with `-progressive`.
ARITHMETIC_SCANS = {
    0xC9: "/8wABgAQEAX/2gAIAQEAAD8A/wB4ca5Kj75A5+GAgkw+vy28/9k=",
    0xCA: "/8wABAAQ/9oACAEBAAAAAf7wn+H/zAAEEAX/2gAIAQEAAQUCGA7ZaWT/zAAEEAX/2gAIAQEABj8CwP/MAAQQBf/aAAgBAQABPyGmMd7/"
    "2gAIAQEAAAAQYP/MAAQQBf/aAAgBAQABPxBUaRb/2Q==",
}


@pytest.mark.parametrize("marker", ARITHMETIC_SCANS)
def test_arithmetic_coded_jpeg_decodes(marker: int) -> None:
    ramp = Image.fromarray(np.add.outer(np.arange(16) * 9, np.arange(16) * 7).astype(np.uint8))
    content = encode(ramp, "JPEG", quality=60)
    start, end = content.index(b"\xff\xc0"), content.index(b"\xff\xc4")
    frame = b"\xff" + bytes([marker]) + content[start + 2 : end]
    arithmetic = content[:start] + frame + base64.b64decode(ARITHMETIC_SCANS[marker])
    np.testing.assert_array_equal(decode(arithmetic, RAW).pixels, decode(content, RAW).pixels)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (JPEG[: FRAME + 5], "ends inside its header"),
        (JPEG[:-200], "ends inside the compressed data"),
    ],
)
def test_incomplete_jpeg_is_truncated(content: bytes, text: str) -> None:
    reason, detail = problem_of(content)
    assert (reason, text in detail) == (Reason.TRUNCATED, True)


def test_complete_file_with_invalid_content_is_corrupt() -> None:
    assert problem_of(JPEG[:2] + JPEG[-2:])[0] is Reason.CORRUPT
    without_quantization = JPEG.replace(b"\xff\xdb", b"\xff\xe5")
    assert problem_of(without_quantization)[0] is Reason.CORRUPT
    content = bytearray(encode(photo(), "PNG"))
    content[60] ^= 1
    assert problem_of(bytes(content)) == (
        Reason.CORRUPT,
        "the checksum of the IDAT chunk of the PNG is wrong",
    )
    rows = np.zeros((64, 192), np.uint8)
    assert "color type 5" in problem_of(png((64, 64), 8, 5, rows))[1]
    webp = encode(photo(), "WEBP")
    assert problem_of(webp[:12] + b"\0" * (len(webp) - 12))[0] is Reason.CORRUPT


def bmp(bits: int, compression: int = 0, header: int = 40, masks: tuple[int, ...] = ()) -> bytes:
    """Return a BMP of 8 x 8 pixels, all bytes 0."""
    info = struct.pack("<IiiHHIIiiII", header, 8, 8, 1, bits, compression, 256, 0, 0, 0, 0)
    info = info.ljust(header, b"\0") + struct.pack(f"<{len(masks)}I", *masks)
    start = 14 + len(info) + (4 << bits if bits <= 8 else 0)
    body = info.ljust(start - 14, b"\0") + bytes(8 * max(4, bits))
    return struct.pack("<2sIHHI", b"BM", 14 + len(body), 0, 0, start) + body


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (bmp(2), "2 bits per pixel"),
        (bmp(64), "64 bits per pixel"),
        (bmp(32, 3, masks=(0x3FF00000, 0xFFC00, 0x3FF)), "unusual color masks"),
        (bmp(16, 3, masks=(0xF00, 0xF0, 0xF)), "unusual color masks"),
        (bmp(0, 4), "contains a JPEG"),
        (bmp(0, 5), "contains a PNG"),
        (bmp(24, 4, header=64), "24-bit run-length"),
        (bmp(8, header=16), "OS/2 header of 16 bytes"),
        (bmp(32, 11), "CMYK"),
    ],
)
def test_rare_bmp_is_unsupported(content: bytes, text: str) -> None:
    reason, detail = problem_of(content)
    assert (reason, text in detail) == (Reason.UNSUPPORTED, True), detail


def test_bmp_with_missing_pixels_is_truncated_and_impossible_one_corrupt() -> None:
    assert reason_of(bmp(24)) is None
    assert reason_of(bmp(24)[:-1]) is Reason.TRUNCATED
    assert reason_of(bmp(33)) is Reason.CORRUPT
    assert reason_of(bmp(24, 99)) is Reason.CORRUPT


def ftyp(*brands: bytes) -> bytes:
    """Return a file of ISO boxes with a major and compatible brands."""
    names = brands[0] + bytes(4) + b"".join(brands)
    return struct.pack(">I4s", 8 + len(names), b"ftyp") + names + struct.pack(">I4s", 8, b"meta")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (ftyp(b"heic", b"mif1"), "pomona[heif]"),
        (ftyp(b"mif1", b"heic"), "pomona[heif]"),
        (ftyp(b"msf1", b"hevc"), "pomona[heif]"),
        (ftyp(b"mif1"), "pomona[heif]"),
        (ftyp(b"crx ", b"isom"), "CR3"),
        (b"\xff\x0a" + bytes(20), "pomona[jxl]"),
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (b"\0\0\1\0\1\0" + bytes(40), "icon"),
        (b"v/1\x01" + bytes(20), "OpenEXR"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"qoif" + bytes(20), "QOI"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_other_image_format_is_unsupported(
    content: bytes, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, package, None)  # the import fails
    reason, detail = problem_of(content)
    assert (reason, text in detail) == (Reason.UNSUPPORTED, True), detail


def jp2_with_color(number: int) -> bytes:
    return JP2.replace(b"colr\1\0\0\0\0\0\x10", b"colr\1\0\0" + struct.pack(">I", number))


@pytest.mark.parametrize(
    ("number", "name"), [(1, "YCbCr"), (14, "CIELab"), (24, "e-sYCC"), (77, "77")]
)
def test_jpeg2000_in_another_color_space_is_unsupported(number: int, name: str) -> None:
    reason, detail = problem_of(jp2_with_color(number))
    assert (reason, name in detail) == (Reason.UNSUPPORTED, True)


def test_jpeg2000_in_sycc_has_the_right_colors() -> None:
    ycc = photo().convert("YCbCr")
    content = encode(ycc, "JPEG2000")
    assert b"colr\1\0\0\0\0\0\x12" in content
    expected = np.asarray(ycc.convert("RGB")).astype(int)
    for revision in SUPPORTED_REVISIONS:
        assert np.abs(decode_pixels(content, revision) - expected).max() <= 4
    subsampled = Image.merge("RGB", ycc.split())
    tiled = encode(subsampled, "JPEG2000", tile_size=(33, 33), no_jp2=True)
    size = tiled.index(b"\xff\x51") + 40  # the first component: depth, horizontal and vertical step
    changed = tiled[: size + 3] + b"\7\2\2\7\2\2" + tiled[size + 9 :]
    assert problem_of(changed)[0] is Reason.UNSUPPORTED
    assert reason_of(tiled) is None


def test_incomplete_jpeg2000_and_avif_are_truncated() -> None:
    for content in (JP2, encode(photo(), "AVIF")):
        for cut in (30, 200, len(content) - 20):
            reason, detail = problem_of(content[:cut])
            assert reason is Reason.TRUNCATED, detail
