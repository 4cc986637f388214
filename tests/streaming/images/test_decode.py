"""Tests for `streaming.images.decode`: pixels, scaling, limits, threads and file suffixes.

Invalid files are tested in `test_decode_invalid.py`, color modes in `test_color.py`.
"""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from streaming.images.decode import (
    FORMATS,
    IMAGE_SUFFIXES,
    DecodeSettings,
    UndecodableImage,
    decode,
)
from streaming.images.optional_formats import OPTIONAL_FORMATS
from streaming.outcomes import Reason
from support.images.image_files import EVERY_FORMAT, encode, photo, png_with_size, reason_of

SETTINGS = DecodeSettings()
PHOTO = photo(120, 80)


def expected(image: Image.Image) -> npt.NDArray[np.float32]:
    """Return the pixels resized by Pillow and scaled as in Keras (`x /= 127.5; x -= 1`)."""
    resized = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return np.asarray(resized).astype(np.float32) / np.float32(127.5) - np.float32(1)


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_pixels_equal_pillow_resize_and_keras_scaling(name: str) -> None:
    content = encode(PHOTO, name)
    decoded = decode(content, SETTINGS)
    assert decoded.pixels.dtype == np.float32
    assert (decoded.width, decoded.height, decoded.format) == (120, 80, name)
    np.testing.assert_array_equal(decoded.pixels, expected(Image.open(io.BytesIO(content))))


def test_jpeg_of_one_megapixel_is_decoded_at_full_resolution() -> None:
    large = np.random.default_rng(1).integers(0, 256, (900, 1000, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(large).save(buffer, "JPEG")
    np.testing.assert_array_equal(
        decode(buffer.getvalue(), SETTINGS).pixels, expected(Image.open(buffer))
    )


def test_settings_determine_size_and_scaling() -> None:
    content = encode(PHOTO, "PNG")
    pixels = decode(content, DecodeSettings(size=96, divisor=1.0, offset=0.0)).pixels
    image = Image.open(io.BytesIO(content)).resize((96, 96), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels, np.asarray(image, dtype=np.float32))


def test_pixel_limit_is_checked_with_header_and_reports_size() -> None:
    with pytest.raises(UndecodableImage) as caught:
        decode(png_with_size(123_456, 100_000), SETTINGS)
    assert caught.value.reason is Reason.TOO_MANY_PIXELS
    assert caught.value.detail == (
        "123,456 x 100,000 = 12,345,600,000 pixels, more than the limit of 100,000,000"
    )
    assert (
        reason_of(png_with_size(60, 50), DecodeSettings(max_pixels=2999)) is Reason.TOO_MANY_PIXELS
    )
    assert reason_of(png_with_size(60, 50), DecodeSettings(max_pixels=3000)) is Reason.CORRUPT


def test_pixel_limit_of_pillow_is_not_used_or_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert reason_of(encode(PHOTO, "PNG")) is None
    # The WebP plugin checks Pillow's limit itself.
    assert reason_of(encode(PHOTO, "WEBP")) is Reason.TOO_MANY_PIXELS
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.slow
def test_bomb_and_one_pixel_wide_image_need_less_than_2_gb() -> None:
    """Run in a process limited to 2 GB; Pillow 11.3 alone needs 7 GB to resize the second image."""
    program = """
import resource, sys
from streaming.images.decode import DecodeSettings, UndecodableImage, decode
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
try:
    decode(sys.stdin.buffer.read(), DecodeSettings())
except UndecodableImage as error:
    sys.exit(error.reason)
print(decode(b"P5 1 8000000 255 " + bytes(8000000), DecodeSettings()).pixels.max())
"""
    for content, status, out in (
        (png_with_size(99_999, 99_999), 1, ""),
        (png_with_size(5, 5), 0, "-1.0"),
    ):
        run = subprocess.run(
            [sys.executable, "-c", program],
            input=content,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == status, run.stderr
        assert run.stdout.decode().strip() == out
        assert (Reason.TOO_MANY_PIXELS.encode() in run.stderr) == bool(status)


def test_too_long_content_is_not_parsed() -> None:
    content = encode(PHOTO, "JPEG")
    assert reason_of(content, DecodeSettings(max_bytes=len(content))) is None
    limited = DecodeSettings(max_bytes=len(content) - 1)
    assert reason_of(content, limited) is Reason.TOO_MANY_BYTES


def test_decode_is_thread_safe() -> None:
    files = [encode(PHOTO, name) for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF")] * 8
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda content: decode(content, SETTINGS), files))
    for content, decoded in zip(files, results, strict=True):
        np.testing.assert_array_equal(decoded.pixels, decode(content, SETTINGS).pixels)


def test_suffixes_belong_to_supported_formats() -> None:
    optional = {suffix for each in OPTIONAL_FORMATS.values() for suffix in each.suffixes}
    extensions = Image.registered_extensions()
    formats = {extensions.get(f".{suffix}", "PPM") for suffix in set(IMAGE_SUFFIXES) - optional}
    assert formats == {*FORMATS, "MPO", "DIB"}  # MPO is read as JPEG, and most .dib files are BMP
    assert len(set(IMAGE_SUFFIXES)) == len(IMAGE_SUFFIXES)


def test_exception_can_be_pickled() -> None:
    error = UndecodableImage(Reason.CORRUPT, "cannot read\n<_io.BytesIO object at 0x7f00>")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, copy.detail) == (Reason.CORRUPT, "cannot read <_io.BytesIO object>")
    assert str(copy) == "corrupt: cannot read <_io.BytesIO object>"
