"""Convert pixels from the color space of an embedded ICC profile to sRGB, with LittleCMS.

The intent is relative colorimetric without black point compensation, as is the default of libvips. A profile that
changes no color by more than `SRGB_TOLERANCE` is taken for sRGB, of which dozens of profiles are in use: the pixels
stay as they are, bit for bit.

Conversions are cached by the bytes of the profile. On one core: a known profile of 3 kB costs 2 microseconds per
image, a new one 1 to 10 milliseconds (40 for CMYK); converting a megapixel takes 18 milliseconds (55 for CMYK).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageFile

from streaming.images.boxes import find_box

SRGB_TOLERANCE = 2
"""Largest difference (of 255) from sRGB that is not converted."""
MAX_PROFILE_BYTES = 8 * 2**20
"""A longer profile is ignored. Profiles of printing presses have 1 to 3 MB."""

_MAX_JP2_HEADER = MAX_PROFILE_BYTES + 2**16
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # color space of the profile to Pillow mode
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")
# LittleCMS's optimization of gray curves has errors of up to 10 of 255.
_NO_OPTIMIZE = 0x0100


@dataclass(frozen=True)
class ColorConversion:
    """A conversion to sRGB.

    Attributes
    ----------
    mode : str
        Color space of the profile: ``RGB``, ``L`` or ``CMYK``.
    transform : PIL.ImageCms.ImageCmsTransform
        From `mode` to RGB; unused for ``L``.
    gray : ndarray of shape (65536,)
        For ``L``: the 8-bit sRGB value of each 16-bit value.
    """

    mode: str
    transform: Any
    gray: npt.NDArray[np.uint8] | None = None

    def convert(self, image: Image.Image) -> Image.Image:
        """Return an image as sRGB, without alpha; an image of mode RGB is converted in place.

        Parameters
        ----------
        image : PIL.Image.Image
            CMYK if the profile is; 8 bits per channel.
        """
        if image.mode != self.mode:
            image = image.convert(self.mode)
        if self.gray is not None:
            return image.point(self.gray[::257].tolist()).convert("RGB")
        if self.mode == "RGB":
            ImageCms.applyTransform(image, self.transform, inPlace=True)
            return image
        converted = ImageCms.applyTransform(image, self.transform)
        assert converted is not None
        return converted


def find_conversion(image: Image.Image) -> ColorConversion | None:
    """Return the conversion to sRGB that an image's profile requires.

    Parameters
    ----------
    image : PIL.Image.Image
        Loaded, because a decoder may read the profile with the pixels.

    Returns
    -------
    ColorConversion or None
        None if the image has no profile, or one that is sRGB, damaged, or of other channels than the image. An RGB
        profile of a grayscale image applies to equal values of red, green and blue, as in viewers.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= MAX_PROFILE_BYTES:
        return None
    conversion = _conversion(profile)
    if conversion is None:
        return None
    if image.mode in _GRAY_MODES or image.mode.startswith("I;16"):
        usable = conversion.mode != "CMYK"
    elif image.mode == "LAB":
        usable = False
    else:
        usable = conversion.mode == ("CMYK" if image.mode == "CMYK" else "RGB")
    return conversion if usable else None


def read_jp2_profile(image: ImageFile.ImageFile) -> None:
    """Add the ICC profile of a JPEG 2000 file to ``image.info``, which Pillow does not.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Opened, not loaded yet, of a file in memory.
    """
    assert image.fp is not None
    position = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(_MAX_JP2_HEADER)
    image.fp.seek(position)
    header = find_box(head, b"jp2h") if head[4:8] == b"jP  " else None
    color = header and find_box(head, b"colr", header.payload, header.end)
    if color and head[color.payload : color.payload + 1] in (b"\2", b"\3"):
        # A restricted or any ICC profile, after three bytes.
        image.info["icc_profile"] = head[color.payload + 3 : color.end]


@lru_cache(maxsize=8)
def _conversion(profile: bytes) -> ColorConversion | None:
    """Return the conversion from a profile to sRGB; None if it is damaged or sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES.get(source.profile.xcolor_space)
        if mode is None:
            return None
        if mode == "L":
            values = Image.fromarray(np.arange(2**16, dtype=np.uint16).reshape(256, 256))
            converted = ImageCms.applyTransform(values, _transform(source, "I;16", _NO_OPTIMIZE))
            gray = np.asarray(converted)[..., 0].reshape(-1)
            identity = np.arange(256)
            same = _largest_difference(gray[::257], identity) <= SRGB_TOLERANCE
            return None if same else ColorConversion(mode, None, gray)
        conversion = ColorConversion(mode, _transform(source, mode, 0))
        return None if mode == "RGB" and _keeps_colors(conversion) else conversion
    # Pillow raises PyCMSError, and others for profiles that it cannot read at all.
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, LookupError):
        return None


def _transform(source: ImageCms.ImageCmsProfile, mode: str, flags: int) -> Any:
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(source, srgb, mode, "RGB", intent, ImageCms.Flags(flags))


def _keeps_colors(conversion: ColorConversion) -> bool:
    """Return whether 17 x 17 x 17 colors stay what they are."""
    axis = np.linspace(0, 255, 17).astype(np.uint8)
    colors = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(17, -1, 3)
    converted = np.asarray(conversion.convert(Image.fromarray(colors)))
    return _largest_difference(converted, colors) <= SRGB_TOLERANCE


def _largest_difference(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> int:
    return int(np.abs(a.astype(int) - b).max())
