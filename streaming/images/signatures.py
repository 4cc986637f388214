"""Identify the format of a file by its first bytes, also formats that are not decoded."""

from __future__ import annotations

import codecs
import re

from PIL import Image

from streaming.images.boxes import heif_problem, is_heif_without_av1
from streaming.images.optional_formats import JXL_CODESTREAM, JXL_CONTAINER
from streaming.images.problems import Problem, unsupported
from streaming.outcomes import Reason

#: First bytes of image formats that are not decoded, and their names.
_OTHER_FORMATS = (
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"#?RGBE", "a Radiance HDR image"),
    (b"DDS ", "a DirectDraw Surface"),
    (b"qoif", "a QOI image"),
    (b"P7\n", "a PAM image (Netpbm P7)"),
    (b"PF\n", "a floating-point color image (PFM)"),
    (b"II\xbc", "a JPEG XR image"),
    (b"BPG\xfb", "a BPG image"),
    (b"FLIF", "a FLIF image"),
    (b"\x59\xa6\x6a\x95", "a Sun raster image"),
    (b"\x01\xda\x00\x01", "an SGI image"),
    (b"\x01\xda\x01\x01", "an SGI image"),
    (b"\0\0\1\0", "a Windows icon"),
    (b"\0\0\2\0", "a Windows cursor"),
    (b"\x8aMNG\r\n\x1a\n", "an MNG animation"),
    (b"\x8bJNG\r\n\x1a\n", "a JNG image"),
    (b"SIMPLE  =", "a FITS image"),
    (b"FUJIFILMCCD-RAW", "a Fujifilm raw image"),
    (b"IIRO", "an Olympus raw image"),
    (b"IIRS", "an Olympus raw image"),
    (b"MMOR", "an Olympus raw image"),
    (b"IIU\0", "a Panasonic raw image"),
    (b"FOVb", "a Sigma raw image"),
)
_SVG = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", re.S
)
_PNM_HEADER = re.compile(rb"P[0-6fy][A-Za-z]*(\s|#[^\n\r]*[\n\r])+\d")
#: First bytes of files that are no images, and what they are.
_OTHER_FILES = (
    (b"%PDF-", "is a PDF document"),
    (b"%!PS", "is a PostScript document"),
    (b"PK\x03\x04", "is a ZIP archive"),
    (b"PK\x05\x06", "is an empty ZIP archive"),
    (b"\x1f\x8b", "is gzip-compressed"),
    (b"BZh", "is bzip2-compressed"),
    (b"\xfd7zXZ\0", "is xz-compressed"),
    (b"\x28\xb5\x2f\xfd", "is Zstandard-compressed"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive"),
    (b"Rar!\x1a\x07", "is a RAR archive"),
    (b"\x7fELF", "is a program"),
    (b"MZ\x90\0", "is a program"),
    (b"SQLite format 3\0", "is an SQLite database"),
    (b"PAR1", "is a Parquet file"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    (b"ID3", "is an audio file"),
    (b"OggS", "is an audio file"),
    (b"fLaC", "is an audio file"),
    (b"\x1a\x45\xdf\xa3", "is a video"),
)
_HTML = re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.I)
_XML = re.compile(rb"\s*<(\?xml\b|error\b)", re.I)
_SAMPLE = 1024
_BMP_HEADER_SIZES = range(12, 125)


def find_format(content: bytes, formats: tuple[str, ...]) -> str | Problem:
    """Return Pillow's name of the format whose signature matches, or the reason why none does.

    Parameters
    ----------
    content : bytes
        The file.
    formats : tuple of str
        Pillow's names of the formats that are decoded.
    """
    if content[4:8] == b"ftyp":
        if is_heif_without_av1(content):
            return heif_problem(content) or "HEIF"
        if content[8:12] == b"crx ":
            return unsupported("a Canon raw image (CR3)")
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"  # Pillow also requires a known first chunk
    if content.startswith((JXL_CODESTREAM, JXL_CONTAINER)):
        return "JXL"
    for name in formats:
        _, accept = Image.OPEN[name]
        if accept is not None and accept(content[:16]) is True and _is_plausible(name, content):
            return name
    for signature, description in _OTHER_FORMATS:
        if content.startswith(signature):
            return unsupported(description)
    if content[128:132] == b"DICM":
        return unsupported("a DICOM image")
    if _SVG.match(content[:1024]):
        return unsupported("an SVG drawing")
    return Problem(Reason.UNIDENTIFIED, f"{_describe(content)}, not an image")


def _describe(content: bytes) -> str:
    """Return what a file is that is no image, by its first bytes; none of them is in the text.

    The text reaches tables, logs and terminals, and the file may be one that was never meant to be shown there.
    """
    for signature, description in _OTHER_FILES:
        if content.startswith(signature):
            return description
    if content[4:8] == b"ftyp" or (content[:4] == b"RIFF" and content[8:12] in (b"AVI ", b"WAVE")):
        return "is an audio file or a video"
    if content[257:262] == b"ustar":
        return "is a tar archive"
    sample = content[:_SAMPLE]
    if not sample.strip(b"\0"):
        return "contains only zero bytes"
    beginning = sample.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(beginning):
        return "is HTML"
    if _XML.match(beginning):
        return "is XML"
    if _is_text(sample, complete=len(content) <= _SAMPLE):
        return "is JSON" if beginning.lstrip()[:1] in (b"{", b"[") else "is text"
    return "begins with no known signature"


def _is_text(sample: bytes, *, complete: bool) -> bool:
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True  # UTF-16 with a byte order mark
    if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", sample):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=complete)
    except UnicodeDecodeError:
        return False
    return True


def _is_plausible(name: str, content: bytes) -> bool:
    """Return False for text that begins with one of the signatures of two letters."""
    if name == "BMP":
        size = int.from_bytes(content[14:18], "little")
        return len(content) < 18 or size in _BMP_HEADER_SIZES
    if name == "PPM":
        return _PNM_HEADER.match(content[:1024]) is not None
    return True
