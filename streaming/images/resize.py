"""Resize an opened image to a square of 8-bit RGB pixels; the only place that loads pixels.

A large JPEG is decoded at a half, a quarter or an eighth of its width and height (DCT scaling), which needs a fraction
of the memory and time.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageFile, JpegImagePlugin

from streaming.images.color import AXIS_SWAPS, exif_transpose, to_rgb

MIN_DRAFT_FACTOR = 4
"""A JPEG is decoded at reduced resolution only if both sides remain at least this many times the target size.

Measured at 224 pixels on the 25 of 54 photographs (wallpapers of 1 to 24 megapixels) that are reduced, against
decoding at full resolution:

====== ================= ============ ========================================
factor mean difference   max          cosine of the features
       (of 255)          difference
====== ================= ============ ========================================
4      0.01 to 0.19      2            at least 0.9997, median 0.99992
3      up to 0.29        5            at least 0.9995
2      up to 0.68        10           at least 0.9991
====== ================= ============ ========================================

Rounding has a similar effect: swapping the two passes of the filter at full resolution changes pixels by 0.07 to
0.15 in the mean and 7 at most, with a cosine of at least 0.9998. The tests require, for detailed photographs, at most
0.5 in the mean, 8 for any pixel and a cosine of at least 0.999. For adversarial patterns (checkerboards of saturated
colors with subsampled chroma, small text, noise) they require at most 5 in the mean and 16 for any pixel. If such a
pattern averages to uniform gray, the cosine of its features can be as low as 0.7.
"""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ResizedImage:
    """A square RGB image, and the size of the original.

    Attributes
    ----------
    image : PIL.Image.Image
        RGB, of equal width and height.
    width, height : int
        Size of the full image as displayed, in pixels.
    """

    image: Image.Image
    width: int
    height: int


def resize_to_square(
    image: ImageFile.ImageFile, size: int, revision: int, *, full_resolution: bool = False
) -> ResizedImage:
    """Load an image, apply its EXIF orientation, convert it to RGB and resize it with Pillow's bicubic filter.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Opened, not loaded yet. The caller has checked its size.
    size : int
        Width and height of the result in pixels.
    revision : int
        Decoder revision, see `streaming.images.decode.DECODER_REVISION`.
    full_resolution : bool, default=False
        Decode a large JPEG at full resolution too.

    Returns
    -------
    ResizedImage
        Bit for bit equal to Pillow's `resize` of the full image. A JPEG that is decoded at reduced resolution
        differs within the bounds documented at `MIN_DRAFT_FACTOR`.

    Raises
    ------
    Exception
        For invalid content. Pillow raises many types of exceptions. A lossless JPEG fails too, because it cannot be
        decoded at reduced resolution.
    """
    width, height = image.size
    box = None if full_resolution else _reduce_resolution(image, size)
    rgb = to_rgb(image, revision)
    transpose = exif_transpose(image, revision)
    if box is None:
        upright = rgb if transpose is None else rgb.transpose(transpose)
        resized = upright.resize((size, size), Image.Resampling.BICUBIC)
        return ResizedImage(resized, upright.width, upright.height)
    resized = rgb.resize((size, size), Image.Resampling.BICUBIC, box)
    if transpose in AXIS_SWAPS:
        width, height = height, width
    upright = resized if transpose is None else resized.transpose(transpose)
    return ResizedImage(upright, width, height)


def _reduce_resolution(image: ImageFile.ImageFile, size: int) -> Box | None:
    """Configure a JPEG to be decoded at the lowest sufficient resolution; return None for other images.

    The returned box is the part of the decoded pixels that shows the image: it may include only a fraction of the last
    row and column.
    """
    min_size = size * MIN_DRAFT_FACTOR
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or min(image.size) < 2 * min_size:
        return None
    draft = image.draft(None, (min_size, min_size))
    return draft[1] if draft else None
