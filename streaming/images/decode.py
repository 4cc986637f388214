"""Decode image bytes to the float32 RGB array that the network takes. Plain Python, without Spark.

The result is what a viewer would show: EXIF orientation is applied; palette, grayscale, 16-bit, CMYK and alpha
images are converted to RGB (alpha over white); of an animation, the first frame is used; embedded color profiles
are converted to sRGB. Pillow's bicubic filter resizes directly to a square. Large JPEGs are decoded at reduced
resolution (`streaming.images.resize`). All functions are thread-safe and change no global setting of Pillow.
"""

from __future__ import annotations

import io
import logging
import re
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin

from streaming.images import tiff
from streaming.images.boxes import jpeg2000_color_problem
from streaming.images.diagnosis import HeaderError, explain, strip_metadata
from streaming.images.optional_formats import OPTIONAL_FORMATS, MissingPackage
from streaming.images.pnm import PnmImageFile
from streaming.images.problems import Problem
from streaming.images.resize import ResizedImage, resize_to_square
from streaming.images.resource_limits import HostOutOfMemory, limit_memory
from streaming.images.signatures import find_format
from streaming.outcomes import Reason

_log = logging.getLogger(__name__)

DECODER_REVISION = 3
"""Revision for new lakes; part of the model id. The pixels of an image that decodes depend on the revision only.

1   (no longer supported) all images at full resolution
2   large JPEGs at reduced resolution
3   embedded color profiles are converted to sRGB; corrections of the colors of rare files, see
    `streaming.images.color`

A lake keeps its revision: a change that alters the pixels of any image that decodes belongs to a new revision, and
`DecodeSettings.revision` selects between the former and the new pixels. Decoding an image that was quarantined before
needs no new revision.
"""
SUPPORTED_REVISIONS = (2, DECODER_REVISION)
"""Revisions that `decode` reproduces."""

# JPEG includes MPO. Excluded are formats that start other programs (EPS), documents (PSD, PDF), formats that are
# decoded before their size is known (ICO), and formats without a signature (TGA, DIB without a file header).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of the formats that are always read; Pillow's other plugins are never called."""

IMAGE_SUFFIXES: tuple[str, ...] = (
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "mpo",
    "png",
    "apng",
    "webp",
    "tif",
    "tiff",
    "bmp",
    "dib",
    "gif",
    "ppm",
    "pgm",
    "pbm",
    "pnm",
    "jp2",
    "j2k",
    "jpf",
    "jpx",
    "j2c",
    "jpc",
    "avif",
    "avifs",
    *(suffix for each in OPTIONAL_FORMATS.values() for suffix in each.suffixes),
)
"""File suffixes of `FORMATS` and `OPTIONAL_FORMATS`, in lower case and without the dot; a listing includes only files
with these. Images of an optional format are quarantined if its package is not installed."""

# Memory allowed per pixel; Pillow needs at most 29 bytes (JPEG 2000 with alpha).
_MAX_BYTES_PER_PIXEL = 48

Image.init()  # register the plugins at import: in a thread it could run twice at the same time


class UndecodableImage(Exception):
    """The content cannot be decoded, and a retry will not help; `detail` names the cause."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Store the detail as one line of at most 500 characters, without memory addresses."""
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = " ".join(re.sub(r" at 0x[0-9a-fA-F]+", "", detail).split())[:500]

    def __str__(self) -> str:
        """Return the reason and the cause."""
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class DecodeSettings:
    """Size and scaling of the pixels, and limits for the file.

    Attributes
    ----------
    size : int
        Width and height of the result in pixels.
    divisor, offset : float
        The result is ``pixel / divisor + offset`` in float32, bit for bit as in Keras's
        `mobilenet_v2.preprocess_input`.
    max_pixels : int
        Maximum width x height of the file.
    max_bytes : int
        Maximum length of the file.
    memory_headroom : int
        If not 0, limit memory to what the pixels and the file need plus this many bytes. Only for processes that
        decode one image at a time.
    revision : int
        One of `SUPPORTED_REVISIONS`: that of the lake's model.
    """

    size: int = 224
    divisor: float = 127.5
    offset: float = -1.0
    max_pixels: int = 100_000_000
    max_bytes: int = 256 * 2**20
    memory_headroom: int = 0
    revision: int = DECODER_REVISION


@dataclass(frozen=True)
class DecodedImage:
    """The pixels of an image, and the properties of its file.

    Attributes
    ----------
    rgb : ndarray of shape (size, size, 3), uint8
    width, height : int
        Size of the full image as displayed, in pixels.
    format : str
        Pillow's name of the format, such as ``JPEG``.
    divisor, offset : float
        See `DecodeSettings`.
    """

    rgb: npt.NDArray[np.uint8]
    width: int
    height: int
    format: str
    divisor: float
    offset: float

    @property
    def pixels(self) -> npt.NDArray[np.float32]:
        """Scaled pixels, float32, of the shape of `rgb`."""
        scaled = np.empty(self.rgb.shape, np.float32)
        self.write_pixels(scaled)
        return scaled

    def write_pixels(self, out: npt.NDArray[np.float32]) -> None:
        """Write `pixels` to an array, such as one image of a batch, without a copy in between."""
        np.divide(self.rgb, self.divisor, out=out, dtype=np.float32)
        out += self.offset


def decode(content: bytes, settings: DecodeSettings) -> DecodedImage:
    """Decode one image.

    Parameters
    ----------
    content : bytes
        The complete file.
    settings : DecodeSettings

    Returns
    -------
    DecodedImage

    Raises
    ------
    UndecodableImage
        For any invalid content. No other exception is raised for content.
    HostOutOfMemory
        If `memory_headroom` is set and the machine has less memory than the limit permits.
    """
    if not content:
        raise UndecodableImage(Reason.EMPTY, "the file has 0 bytes")
    if len(content) > settings.max_bytes:
        text = f"{len(content):,} bytes, more than the limit of {settings.max_bytes:,}"
        raise UndecodableImage(Reason.TOO_MANY_BYTES, text)
    name = find_format(content, FORMATS)
    if isinstance(name, Problem):
        raise UndecodableImage(name.reason, name.detail)
    try:
        return _decode(name, content, settings)
    except (UndecodableImage, HostOutOfMemory):
        raise
    except Exception as error:  # Pillow raises many types for invalid content, also MemoryError
        failure = error.with_traceback(None)  # its frames refer to the pixels
    problem = explain(name, content, failure)
    if problem.reason is not Reason.UNSUPPORTED and not isinstance(failure, MemoryError):
        # Damaged or oversized metadata must not cost an image whose pixels are complete.
        stripped = strip_metadata(name, content)
        if stripped is not None:
            try:
                return _decode(name, stripped, settings)
            except HostOutOfMemory:
                raise
            except Exception:  # the metadata was not the cause
                _log.debug("decoding without metadata fails too", exc_info=True)
    raise UndecodableImage(problem.reason, problem.detail) from failure


def _decode(name: str, content: bytes, settings: DecodeSettings) -> DecodedImage:
    """Decode a file of a known format. Many types of exceptions are raised for invalid content."""
    with _open(name, content, settings.revision) as image:
        if (count := image.width * image.height) > settings.max_pixels:
            text = f"{image.width:,} x {image.height:,} = {count:,} pixels, more than the limit of "
            raise UndecodableImage(Reason.TOO_MANY_PIXELS, f"{text}{settings.max_pixels:,}")
        memory = settings.memory_headroom + _MAX_BYTES_PER_PIXEL * count + 2 * len(content)
        with limit_memory(memory) if settings.memory_headroom else nullcontext():
            resized = _resize(image, name, content, settings)
        format_name = image.format or name
    return DecodedImage(
        np.asarray(resized.image),
        resized.width,
        resized.height,
        format_name,
        settings.divisor,
        settings.offset,
    )


def _open(name: str, content: bytes, revision: int) -> ImageFile.ImageFile:
    """Read only the header, with Pillow's plugin for the format.

    `Image.open` is not used: it checks a pixel limit that is global to the process, and discards the reason why a
    header is invalid.
    """
    if name == "JPEG2000" and revision >= 3 and (problem := jpeg2000_color_problem(content)):
        raise UndecodableImage(problem.reason, problem.detail)
    try:
        if name in OPTIONAL_FORMATS:
            return OPTIONAL_FORMATS[name].open(content)
        if name == "PPM":
            return PnmImageFile(io.BytesIO(content), "")
        if name == "TIFF":
            return tiff.open_image(content, revision)
        return Image.OPEN[name][0](io.BytesIO(content), "")
    except MissingPackage as error:
        raise UndecodableImage(error.problem.reason, error.problem.detail) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise
    except Exception as error:
        raise HeaderError(str(error)) from error


def _resize(
    image: ImageFile.ImageFile, name: str, content: bytes, settings: DecodeSettings
) -> ResizedImage:
    """Resize the image; decode a JPEG at full resolution if decoding it at reduced resolution fails."""
    try:
        return resize_to_square(image, settings.size, settings.revision)
    except OSError:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            raise
    with _open(name, content, settings.revision) as reopened:
        return resize_to_square(reopened, settings.size, settings.revision, full_resolution=True)
