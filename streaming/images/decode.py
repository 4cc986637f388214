"""Decode image bytes to the float32 RGB array that the network takes. Plain Python, without Spark.

The result is what a viewer would show: EXIF orientation is applied; palette, grayscale, 16-bit, CMYK and alpha
images are converted to RGB (alpha over white); of an animation, the first frame is used; embedded color profiles
are ignored. Pillow's bicubic filter resizes directly to a square. Large JPEGs are decoded at reduced resolution
(`streaming.images.resize`). All functions are thread-safe and change no global setting of Pillow.
"""

from __future__ import annotations

import io
import re
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin

from streaming.images.resize import ResizedImage, resize_to_square
from streaming.images.resource_limits import HostOutOfMemory, limit_memory
from streaming.images.truncation import is_truncated
from streaming.outcomes import Reason

DECODER_REVISION = 2
"""Part of the model id: raise it with every change after which some image gives other pixels."""

# JPEG covers MPO. Left out: formats that start other programs (EPS), documents (PSD, PDF), what
# decodes before its size is known (ICO) and what has no signature (TGA, a DIB without its header).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
"""The only formats that Pillow is asked to read, by its names."""

IMAGE_SUFFIXES: tuple[str, ...] = (
    *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "tif", "tiff", "bmp", "dib"),
    *("gif", "ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "jpf", "jpx", "j2c", "jpc", "avif", "avifs"),
)
"""Suffixes of `FORMATS`, lower case, without the dot: what counts as an image in a listing."""

_BYTES_A_PIXEL = 48  # that its pixels explain: Pillow takes 29 at most, for JPEG 2000 with alpha

Image.init()  # registers the plugins now, not in whichever thread decodes first


class UndecodableImage(Exception):
    """This content gives no pixels, however often it is tried; `detail` names the cause."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the detail as one line of at most 500 characters, without addresses in memory."""
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = " ".join(re.sub(r" at 0x[0-9a-fA-F]+", "", detail).split())[:500]

    def __str__(self) -> str:
        """The reason, then the cause."""
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class DecodeSettings:
    """What the network takes, and what is refused.

    A value is ``pixel / divisor + offset`` in float32: bit for bit what Keras's
    `mobilenet_v2.preprocess_input` gives. `size` is the side in pixels, `max_pixels` the greatest
    width times height of a file, `max_bytes` its greatest length. `memory_headroom`, for a process that does
    nothing else, makes allocations fail that its pixels and so many bytes do not explain; 0 sets no bound.
    """

    size: int = 224
    divisor: float = 127.5
    offset: float = -1.0
    max_pixels: int = 100_000_000
    max_bytes: int = 256 * 2**20
    memory_headroom: int = 0


@dataclass(frozen=True)
class DecodedImage:
    """Pixels for the network, and what is worth knowing of the file.

    `pixels` is float32 RGB of shape (size, size, 3); `width` and `height` are the whole image's as
    displayed, in pixels; `format` is Pillow's name, such as ``JPEG``.
    """

    pixels: npt.NDArray[np.float32]
    width: int
    height: int
    format: str


def decode(content: bytes, settings: DecodeSettings) -> DecodedImage:
    """Decode one image.

    Parameters
    ----------
    content : bytes
        The whole file.
    settings : DecodeSettings
        Size, scaling and limits.

    Returns
    -------
    DecodedImage
        Pixels of shape (size, size, 3), and the size and format of the file.

    Raises
    ------
    UndecodableImage
        For whatever is wrong with the content; bad content raises nothing else.
    HostOutOfMemory
        Under `memory_headroom`, where the machine has less memory than the image may take.
    """
    if not content:
        raise UndecodableImage(Reason.EMPTY, "the file has 0 bytes")
    if len(content) > settings.max_bytes:
        text = f"{len(content):,} bytes, more than the limit of {settings.max_bytes:,}"
        raise UndecodableImage(Reason.TOO_MANY_BYTES, text)
    image: ImageFile.ImageFile | None = None
    try:
        image = _open(content)
        if (count := image.width * image.height) > settings.max_pixels:
            text = f"{image.width:,} x {image.height:,} = {count:,} pixels, more than the limit of "
            raise UndecodableImage(Reason.TOO_MANY_PIXELS, f"{text}{settings.max_pixels:,}")
        room = settings.memory_headroom + _BYTES_A_PIXEL * count + 2 * len(content)
        with limit_memory(room) if settings.memory_headroom else nullcontext():
            square = _square(image, content, settings.size)
        pixels = np.asarray(square.image, dtype=np.float32)
        name = image.format or "unknown"
    except (UndecodableImage, HostOutOfMemory):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # WebP, GIF and the tiles of a TIFF ask Pillow's own limit before ours can be asked.
        raise UndecodableImage(Reason.TOO_MANY_PIXELS, str(error)) from error
    except Exception as error:  # Pillow raises nearly anything for bad content, MemoryError too
        raise _verdict(error, content, image is not None) from error
    finally:
        if image is not None:
            image.close()
    pixels /= settings.divisor
    pixels += settings.offset
    return DecodedImage(pixels, square.width, square.height, name)


def _open(content: bytes) -> ImageFile.ImageFile:
    """Read the header and no pixels, with the plugin that knows the signature.

    `Image.open` would apply the limit of pixels that belongs to the whole process, warn beside it,
    and forget why a header could not be read.
    """
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(content[:16]) is True:
            return factory(io.BytesIO(content), "")
    text = f"begins with {content[:16]!r}, as none of {', '.join(FORMATS)} does"
    raise UndecodableImage(Reason.UNIDENTIFIED, text)


def _square(image: ImageFile.ImageFile, content: bytes, size: int) -> ResizedImage:
    """The pixels; what cannot be reduced is read in full, and the verdict on it is that of its whole."""
    try:
        return resize_to_square(image, size)
    except OSError:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            raise
    with _open(content) as again:
        return resize_to_square(again, size, in_full=True)


def _verdict(error: Exception, content: bytes, opened: bool) -> UndecodableImage:
    """Tell a file that was cut short from one that is broken."""
    detail = f"{type(error).__name__}: {error}"
    if not opened and content.startswith((b"BM", b"P")):  # so short a signature that texts have it
        return UndecodableImage(Reason.UNIDENTIFIED, detail)
    cut = is_truncated(error, content)
    return UndecodableImage(Reason.TRUNCATED if cut else Reason.CORRUPT, detail)
