"""Explain why an image cannot be decoded, and leave out metadata that would prevent it."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from streaming.images import bitmaps, boxes, jpeg, optional_formats, png, pnm, tiff
from streaming.images.problems import Problem, corrupt
from streaming.outcomes import Reason

_STRIP: dict[str, Callable[[bytes], bytes | None]] = {
    "JPEG": jpeg.strip_metadata,
    "PNG": png.strip_metadata,
    "WEBP": bitmaps.strip_webp_metadata,
    "TIFF": tiff.strip_metadata,
    "GIF": bitmaps.strip_gif_extensions,
    "JPEG2000": boxes.strip_jpeg2000_metadata,
}
_FIND: dict[str, Callable[[bytes], Problem | None]] = {
    "JPEG": jpeg.find_problem,
    "PNG": png.find_problem,
    "WEBP": bitmaps.find_webp_problem,
    "GIF": bitmaps.find_gif_problem,
    "PPM": pnm.find_problem,
    "JPEG2000": boxes.find_problem,
    "AVIF": boxes.find_problem,
    "HEIF": boxes.find_problem,
    "JXL": optional_formats.find_jxl_problem,
}
#: These also need to know whether the decoder accepted the header.
_FIND_WITH_HEADER: dict[str, Callable[[bytes, bool], Problem | None]] = {
    "TIFF": tiff.find_problem,
    "BMP": bitmaps.find_bmp_problem,
}
_NAMES = {"JPEG2000": "JPEG 2000", "JXL": "JPEG XL", "PPM": "Netpbm image", "WEBP": "WebP"}


def strip_metadata(name: str, content: bytes) -> bytes | None:
    """Return a file without the metadata that decides no pixel; None if that changes nothing.

    Parameters
    ----------
    name : str
        Pillow's name of the format.
    content : bytes
        The file.
    """
    strip = _STRIP.get(name)
    return strip(content) if strip else None


class HeaderError(Exception):
    """The decoder does not accept the header of a file."""


def explain(name: str, content: bytes, error: Exception) -> Problem:
    """Return the reason for the quarantine of a file that cannot be decoded, in plain words.

    The structure of the file decides, not the message of the decoder: a file is truncated if bytes are missing,
    unsupported if it is valid, and corrupt otherwise.

    Parameters
    ----------
    name : str
        Pillow's name of the format.
    content : bytes
        The file.
    error : Exception
        Raised by the decoder; a `HeaderError` if it did not accept the header.
    """
    opened = not isinstance(error, HeaderError)
    if isinstance(error, pnm.PnmError):
        return error.problem
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        # Pillow checks its own limit for WebP, GIF and the tiles of a TIFF, before `max_pixels` is checked.
        text = f"the {_NAMES.get(name, name)}, or a tile of it, has more pixels than Pillow permits"
        return Problem(Reason.TOO_MANY_PIXELS, text)
    found = _find_problem(name, content, opened)
    if found:
        return found
    name = _NAMES.get(name, name)
    if isinstance(error, MemoryError):
        return corrupt(f"decoding the {name} needs more memory than its size permits")
    if not opened:
        return corrupt(f"the header of the {name} is invalid")
    return corrupt(f"the compressed pixels of the {name} cannot be decoded")


def _find_problem(name: str, content: bytes, opened: bool) -> Problem | None:
    if name in _FIND_WITH_HEADER:
        return _FIND_WITH_HEADER[name](content, opened)
    return _FIND[name](content)
