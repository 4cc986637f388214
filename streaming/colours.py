"""An opened image, of any of Pillow's modes, as the 8-bit RGB that a viewer would show.

Alpha is laid over white, 16-bit and float grey is scaled instead of clipped, CMYK is converted by
Pillow's plain formula (JPEGs by Adobe's inverted convention, as browsers do), LAB as D50 to sRGB.
Embedded colour profiles are not applied.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

_FLIPS = (
    *("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM"),
    *("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"),
)
_METHODS = {number: Image.Transpose[name] for number, name in enumerate(_FLIPS, 2)}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of a TIFF


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
        return _grey(image).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    # Pillow leaves a PNG's transparent colour in the file's depth, but scales pixels to 8 bits.
    key: Any = image.info.get("transparency")
    if raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if raw_mode == "L;2" else 17)
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def upright(image: ImageFile.ImageFile, rgb: Image.Image) -> Image.Image:
    """Turn the pixels as EXIF says; EXIF that cannot be read says nothing, as in a viewer.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Loaded: a PNG may hold its EXIF behind the pixels, and a TIFF is upright by then.
    rgb : PIL.Image.Image
        The pixels of `image`, as stored.

    Returns
    -------
    PIL.Image.Image
        The pixels as displayed; width and height may have changed places.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return rgb
    method = _METHODS.get(orientation) if isinstance(orientation, int) else None
    return rgb if method is None else rgb.transpose(method)


def _grey(image: ImageFile.ImageFile) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey to 8 bits; a transparent grey becomes white.

    16-bit samples keep their full range (12-bit ones of a TIFF theirs). The others get the first of
    the usual ranges that holds them all (65535 for integers; 1, 255, 65535 for floats), else the
    range from the least to the greatest value.
    """
    values = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    black, white = 0.0, 4095.0 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535.0
    if image.mode in ("I", "F"):
        finite = values[np.isfinite(values)]
        black, white = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
        if black >= 0 and white <= usual[-1]:
            black, white = 0.0, next(top for top in usual if white <= top)
        values = np.nan_to_num(values.astype(np.float64), nan=black, posinf=white, neginf=black)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero, which Pillow leaves to its callers here
        black, white = white, black
    shifted = np.subtract(values, black, dtype=np.result_type(values, np.float32))
    grey = np.rint(shifted * (255 / ((white - black) or 1.0))).astype(np.uint8)
    if "transparency" in image.info:
        grey[np.asarray(image) == image.info["transparency"]] = 255
    return Image.fromarray(grey)
