"""Convert an opened image of any Pillow mode to the 8-bit RGB that a viewer would show.

Alpha is composited over white. 16-bit and floating-point grayscale is scaled instead of clipped. CMYK is converted
with Pillow's formula (Adobe JPEGs are inverted, as in browsers), LAB as D50 to sRGB. Embedded color profiles are
ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

_FLIPS = (
    *("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM"),
    *("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"),
)
_METHODS = {number: Image.Transpose[name] for number, name in enumerate(_FLIPS, 2)}
AXIS_SWAPS = frozenset(_METHODS[number] for number in (5, 6, 7, 8))
"""The turns that make a portrait of a landscape."""
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of a TIFF

STRIP_PIXELS = 2**20
"""Alpha and deep grey are turned into RGB this many pixels at a time: they take 16 to 40 bytes a pixel on the way."""


def to_rgb(image: ImageFile.ImageFile) -> Image.Image:
    """Load the pixels and turn them into RGB.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Opened, not loaded yet; its size is for the caller to have checked.

    Returns
    -------
    PIL.Image.Image
        Of mode RGB and the same size; the very image where it is plain RGB already.

    Raises
    ------
    Exception
        Whatever Pillow raises for content that it cannot read: nearly anything.
    """
    raw_mode = image.tile[0][3] if image.tile else None
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _in_strips(image, partial(_grey, ends=_ends(image)))
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    # Pillow leaves a PNG's transparent colour in the file's depth, but scales pixels to 8 bits.
    key: Any = image.info.get("transparency")
    if raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if raw_mode == "L;2" else 17)
    return _in_strips(image, _over_white)


def exif_transpose(image: ImageFile.ImageFile) -> Image.Transpose | None:
    """How EXIF says to turn the pixels; what cannot be read says nothing, as in a viewer.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Loaded: a PNG may hold its EXIF behind the pixels, and a TIFF is upright by then.

    Returns
    -------
    PIL.Image.Transpose or None
        From the pixels as stored to those displayed; with one of `AXIS_SWAPS`, width and height
        change places.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return None
    return _METHODS.get(orientation) if isinstance(orientation, int) else None


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image from top to bottom, with the row that each strip begins at."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _in_strips(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What needs several copies on the way to RGB needs them of a strip, not of the whole image."""
    if image.width * image.height <= STRIP_PIXELS:
        return to_rgb(image)
    whole = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        whole.paste(to_rgb(strip), (0, top))
    return whole


def _over_white(image: Image.Image) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _ends(image: ImageFile.ImageFile) -> tuple[float, float]:
    """The values of deep grey that become black and white.

    16-bit samples keep their full range (12-bit ones of a TIFF theirs). The others get the first of
    the usual ranges that holds them all (65535 for integers; 1, 255, 65535 for floats), else the
    range from the least to the greatest value.
    """
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    black, white = 0.0, 4095.0 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535.0
    if image.mode in ("I", "F"):
        black, white = _finite_range(image)
        usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
        if black >= 0 and white <= usual[-1]:
            black, white = 0.0, next(top for top in usual if white <= top)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero, which Pillow leaves to its callers here
        black, white = white, black
    return black, white


def _finite_range(image: Image.Image) -> tuple[float, float]:
    """The least and the greatest value; 0 and 1 where none is finite."""
    ends = []
    for _, strip in _strips(image):
        values = np.asarray(strip)
        finite = values[np.isfinite(values)]
        ends += [float(finite.min()), float(finite.max())] if finite.size else []
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _grey(image: Image.Image, ends: tuple[float, float]) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey to 8 bits, in three channels; a transparent grey becomes white."""
    black, white = ends
    values = np.asarray(image)
    if image.mode in ("I", "F"):
        low, high = min(ends), max(ends)
        values = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    shifted = np.subtract(values, black, dtype=np.result_type(values, np.float32))
    grey = np.rint(shifted * (255 / ((white - black) or 1.0))).astype(np.uint8)
    if "transparency" in image.info:
        grey[np.asarray(image) == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")
