"""HEIF and JPEG XL, which are read if their packages are installed.

The packages are imported with the first image of their format, and decode with one thread, as Pillow does.
"""

from __future__ import annotations

import importlib
import io
import re
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, ImageFile

from streaming.images.boxes import boxes, find_problem
from streaming.images.problems import Problem, truncated
from streaming.outcomes import Reason

JXL_CODESTREAM = b"\xff\x0a"
JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"


EXTRA = re.compile(r"pip install 'pomona\[(\w+)\]'")
"""Matches the detail of an image whose format needs an extra, with the name of the extra."""


class MissingPackage(Exception):
    """The package that reads a format is not installed."""

    def __init__(self, problem: Problem) -> None:
        """Keep the problem of the file."""
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True)
class OptionalFormat:
    """A format that is read if a package is installed.

    Attributes
    ----------
    name : str
        Pillow's name of the format.
    title : str
        Name for the user.
    extra : str
        Extra of Pomona that installs the package.
    package : str
        Module that registers the format with Pillow.
    suffixes : tuple of str
        File suffixes, in lower case and without the dot.
    """

    name: str
    title: str
    extra: str
    package: str
    suffixes: tuple[str, ...]

    def open(self, content: bytes) -> ImageFile.ImageFile:
        """Read only the header of a file.

        Raises
        ------
        MissingPackage
            If the package is not installed.
        Exception
            For invalid content.
        """
        try:
            package = importlib.import_module(self.package)
        except ImportError as error:
            text = f"{self.title} needs an extra: pip install 'pomona[{self.extra}]'"
            raise MissingPackage(Problem(Reason.UNSUPPORTED, text)) from error
        return _OPEN[self.name](package, content)


OPTIONAL_FORMATS = {
    "HEIF": OptionalFormat(
        "HEIF", "a HEIC image", "heif", "pillow_heif", ("heic", "heif", "heics", "heifs", "hif")
    ),
    "JXL": OptionalFormat("JXL", "a JPEG XL image", "jxl", "pillow_jxl", ("jxl",)),
}
"""By Pillow's name."""


def _open_heif(package: Any, content: bytes) -> ImageFile.ImageFile:
    """Open a HEIF file: the package decodes the pixels when they are loaded, and applies the rotation."""
    options = package.options
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    image: ImageFile.ImageFile = package.HeifImageFile(io.BytesIO(content), "")
    return image


def _open_jxl(package: Any, content: bytes) -> ImageFile.ImageFile:
    package.JpegXLImagePlugin.DECODE_THREADS = 0  # no threads in addition to this one
    return JpegXLFile(io.BytesIO(content), "")


_OPEN = {"HEIF": _open_heif, "JXL": _open_jxl}


class JpegXLFile(ImageFile.ImageFile):
    """A JPEG XL file whose pixels are decoded when they are loaded; the package decodes them when it opens a file."""

    format = "JXL"

    def _open(self) -> None:
        assert self.fp is not None
        self._content = self.fp.read()
        self._size = read_jxl_size(self._content)
        self._mode = "RGB"  # until the pixels are loaded
        self.tile = []

    def load(self) -> Any:
        """Decode the pixels."""
        if self._content:
            package: Any = importlib.import_module("pillow_jxl.JpegXLImagePlugin")
            decoded = package.JXLImageFile(io.BytesIO(self._content), "")
            decoded.load()
            self._content = b""
            self.im, self._mode, self._size = decoded.im, decoded.mode, decoded.size
            self.info = decoded.info
            # The pixels of others are upright, and their EXIF does not count (ISO/IEC 18181-2).
            if not decoded.jpeg:
                self.getexif().pop(ExifTags.Base.Orientation, None)
        return super().load()


def read_jxl_size(content: bytes) -> tuple[int, int]:
    """Return width and height from the header of a JPEG XL codestream, as stored.

    Raises
    ------
    ValueError
        If the file contains no header.
    """
    codestream = _jxl_codestream(content)
    if not codestream.startswith(JXL_CODESTREAM) or len(codestream) < 12:
        raise ValueError("truncated: the file ends before the size of the image")
    bits = int.from_bytes(codestream[2:12], "little")

    def take(count: int) -> int:
        """Return the next bits as a number, lowest first."""
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def side(small: int) -> int:
        """Return the next width or height."""
        return 8 * (1 + take(5)) if small else 1 + take((9, 13, 18, 30)[take(2)])

    small = take(1)
    height = side(small)
    ratio = take(3)
    if ratio == 0:
        return side(small), height
    numerator, denominator = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * numerator // denominator, height


def _jxl_codestream(content: bytes) -> bytes:
    """Return the first bytes of the codestream: the file itself, or in a box of a container."""
    if not content.startswith(JXL_CONTAINER):
        return content[:64]
    for box in boxes(content):
        if box.kind in (b"jxlc", b"jxlp"):  # a part begins with its number
            return content[box.payload + 4 * (box.kind == b"jxlp") : box.payload + 68]
    return b""


def find_jxl_problem(content: bytes) -> Problem | None:
    """Return why a JPEG XL file is not decoded, as far as its structure shows it."""
    if content.startswith(JXL_CONTAINER):
        return find_problem(content)
    return None if len(content) >= 12 else truncated("the file ends inside the header")
