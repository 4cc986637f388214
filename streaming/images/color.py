"""Convert an opened image of any Pillow mode to the 8-bit RGB that a viewer would show.

Alpha is composited over white. 16-bit and floating-point grayscale is scaled instead of clipped. CMYK is converted
with Pillow's formula (Adobe JPEGs are inverted, as in browsers), LAB as D50 to sRGB. From revision 3 on, embedded
color profiles are applied (`streaming.images.color_profile`), before alpha is composited; revision 2 ignores them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from streaming.images.color_profile import ColorConversion, find_conversion, read_jp2_profile

# EXIF orientation to the operation that turns the image upright; orientation 1 needs none.
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
AXIS_SWAPS = frozenset(_ORIENTATIONS[number] for number in (5, 6, 7, 8))
"""The operations that swap width and height."""
_BITS_PER_SAMPLE = 258  # TIFF tags
_PHOTOMETRIC_INTERPRETATION = 262
_WHITE_IS_ZERO = 0

STRIP_PIXELS = 2**20
"""Alpha and high-bit-depth grayscale are converted in strips of this size: they need 16 to 40 bytes per pixel."""


def to_rgb(image: ImageFile.ImageFile, revision: int) -> Image.Image:
    """Load the pixels of an image and convert them to RGB; place a smaller GIF frame on a white canvas.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Opened, not loaded yet. The caller has checked its size.
    revision : int
        Decoder revision, see `streaming.images.decode.DECODER_REVISION`.

    Returns
    -------
    PIL.Image.Image
        An RGB image of the same size; the same object if it is plain RGB already.

    Raises
    ------
    Exception
        For invalid content. Pillow raises many types of exceptions.
    """
    frame = image.tile[0].extents if image.tile and image.format == "GIF" else None
    rgb = _to_rgb(image, revision)
    if revision < 3 or frame in (None, (0, 0, *rgb.size)):
        return rgb
    canvas = Image.new("RGB", rgb.size, "white")
    canvas.paste(rgb.crop(frame), frame[:2])
    return canvas


def _to_rgb(image: ImageFile.ImageFile, revision: int) -> Image.Image:
    raw_mode = image.tile[0][3] if image.tile else None
    if revision >= 3:
        _remove_xmp(image)  # before a TIFF is loaded, which rotates it
    if revision >= 3 and image.format == "JPEG2000":
        read_jp2_profile(image)
    image.load()
    conversion = find_conversion(image) if revision >= 3 else None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        levels = _gray_levels(image)
        return _convert_in_strips(image, partial(_scale_gray, levels=levels, conversion=conversion))
    if revision >= 3 and image.format == "BMP" and _is_transparent_everywhere(image):
        return image.convert("RGB")
    if not image.has_transparency_data:
        if conversion:
            return conversion.convert(image)
        return image if image.mode == "RGB" else image.convert("RGB")
    # Pillow scales the pixels of a PNG to 8 bits, but keeps its transparent color at the bit depth of the file.
    key: Any = image.info.get("transparency")
    if raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if raw_mode == "L;2" else 17)
    return _convert_in_strips(image, partial(_composite_over_white, conversion=conversion))


def _remove_xmp(image: Image.Image) -> None:
    """Remove XMP: Pillow takes the orientation from it, which viewers ignore."""
    for key in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(key, None)


def exif_transpose(image: ImageFile.ImageFile, revision: int) -> Image.Transpose | None:
    """Return the operation that turns the stored pixels upright, according to EXIF.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Loaded: a PNG may store EXIF after the pixels, and Pillow rotates a TIFF when it loads it.

    Returns
    -------
    PIL.Image.Transpose or None
        None if no operation is needed or EXIF is unreadable, as in image viewers. The operations in `AXIS_SWAPS`
        swap width and height.
    """
    if revision >= 3:
        _remove_xmp(image)  # a PNG may have it after the pixels
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return None
    return _ORIENTATIONS.get(orientation) if isinstance(orientation, int) else None


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield horizontal strips from top to bottom, each with the index of its first row."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _convert_in_strips(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert an image to RGB strip by strip, so that intermediate copies exist for one strip only."""
    if image.width * image.height <= STRIP_PIXELS:
        return convert(image)
    rgb = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        rgb.paste(convert(strip), (0, top))
    return rgb


def _is_transparent_everywhere(image: Image.Image) -> bool:
    """Return whether alpha is 0 everywhere: many writers of BMP leave the fourth byte 0, and viewers ignore it."""
    return image.mode == "RGBA" and image.getchannel("A").getbbox() is None


def _composite_over_white(image: Image.Image, conversion: ColorConversion | None) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if conversion:
        alpha = rgba.getchannel("A")
        rgba = conversion.convert(rgba.convert("RGB"))
        rgba.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _gray_levels(image: ImageFile.ImageFile) -> tuple[float, float]:
    """Return the values of 16-bit, 32-bit or float grayscale that become black and white.

    16-bit samples use their full range, and 12-bit samples of a TIFF theirs. Other samples use the smallest common
    range that contains all values: up to 65535 for integers; up to 1, 255 or 65535 for floats. If none contains
    them, the range extends from the minimum to the maximum value.
    """
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    black, white = 0.0, 4095.0 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535.0
    if image.mode in ("I", "F"):
        black, white = _finite_range(image)
        common_maxima = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
        if black >= 0 and white <= common_maxima[-1]:
            black, white = 0.0, next(maximum for maximum in common_maxima if white <= maximum)
    if (
        tags.get(_PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    ):  # Pillow does not invert these modes
        black, white = white, black
    return black, white


def _finite_range(image: Image.Image) -> tuple[float, float]:
    """Return the minimum and maximum finite value, or 0 and 1 if no value is finite."""
    extremes = []
    for _, strip in _strips(image):
        values = np.asarray(strip)
        finite = values[np.isfinite(values)]
        extremes += [float(finite.min()), float(finite.max())] if finite.size else []
    return (min(extremes), max(extremes)) if extremes else (0.0, 1.0)


def _scale_gray(
    image: Image.Image, levels: tuple[float, float], conversion: ColorConversion | None
) -> Image.Image:
    """Scale 16-bit, 32-bit or float grayscale to 8-bit RGB; the transparent value becomes white."""
    black, white = levels
    values = np.asarray(image)
    if image.mode in ("I", "F"):
        low, high = min(levels), max(levels)
        values = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    shifted = np.subtract(values, black, dtype=np.result_type(values, np.float32))
    span = (white - black) or 1.0
    if conversion and conversion.gray is not None:
        gray = conversion.gray[np.rint(shifted * (65535 / span)).astype(np.uint16)]
    else:
        gray = np.rint(shifted * (255 / span)).astype(np.uint8)
    if "transparency" in image.info:
        gray[np.asarray(image) == image.info["transparency"]] = 255
    rgb = Image.fromarray(gray).convert("RGB")
    return conversion.convert(rgb) if conversion and conversion.gray is None else rgb
