"""What the decoder promises: Pillow's pixels, Keras's scaling, limits that are ours.

Broken files are in `test_decode_damage.py`, the modes of an image in `test_colours.py`.
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
from streaming.outcomes import Reason
from support.image_files import EVERY_FORMAT, encode, photo, png_with_size, reason_of

SETTINGS = DecodeSettings()
PHOTO = photo(120, 80)


def expected(image: Image.Image) -> npt.NDArray[np.float32]:
    """The oracle: Pillow's own resize, then Keras's own scaling (`x /= 127.5; x -= 1`)."""
    resized = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return np.asarray(resized).astype(np.float32) / np.float32(127.5) - np.float32(1)


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_the_pixels_are_pillows_resize_and_keras_scaling_to_the_bit(name: str) -> None:
    content = encode(PHOTO, name)
    decoded = decode(content, SETTINGS)
    assert decoded.pixels.dtype == np.float32
    assert (decoded.width, decoded.height, decoded.format) == (120, 80, name)
    np.testing.assert_array_equal(decoded.pixels, expected(Image.open(io.BytesIO(content))))


def test_jpegs_of_a_megapixel_are_decoded_in_full() -> None:
    large = np.random.default_rng(1).integers(0, 256, (900, 1000, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(large).save(buffer, "JPEG")
    np.testing.assert_array_equal(
        decode(buffer.getvalue(), SETTINGS).pixels, expected(Image.open(buffer))
    )


def test_size_and_scaling_come_from_the_settings() -> None:
    content = encode(PHOTO, "PNG")
    other = decode(content, DecodeSettings(size=96, divisor=1.0, offset=0.0)).pixels
    image = Image.open(io.BytesIO(content)).resize((96, 96), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(other, np.asarray(image, dtype=np.float32))


def test_the_pixel_limit_is_read_from_the_header_and_names_the_numbers() -> None:
    with pytest.raises(UndecodableImage) as caught:
        decode(png_with_size(123_456, 100_000), SETTINGS)
    assert caught.value.reason is Reason.TOO_MANY_PIXELS
    assert caught.value.detail == (
        "123,456 x 100,000 = 12,345,600,000 pixels, more than the limit of 100,000,000"
    )
    assert (
        reason_of(png_with_size(60, 50), DecodeSettings(max_pixels=2999)) is Reason.TOO_MANY_PIXELS
    )
    assert reason_of(png_with_size(60, 50), DecodeSettings(max_pixels=3000)) is Reason.TRUNCATED


def test_our_limit_decides_and_pillows_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert reason_of(encode(PHOTO, "PNG")) is None
    # The one plugin that asks Pillow's limit by itself.
    assert reason_of(encode(PHOTO, "WEBP")) is Reason.TOO_MANY_PIXELS
    assert Image.MAX_IMAGE_PIXELS == 10


def test_neither_a_bomb_nor_a_thread_of_pixels_takes_gigabytes() -> None:
    """In a process that may map 2 GB; Pillow 11.3 needs 7 GB to resize the second."""
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


def test_too_many_bytes_are_not_looked_into() -> None:
    content = encode(PHOTO, "JPEG")
    assert reason_of(content, DecodeSettings(max_bytes=len(content))) is None
    too_long = DecodeSettings(max_bytes=len(content) - 1)
    assert reason_of(content, too_long) is Reason.TOO_MANY_BYTES


def test_threads_do_not_disturb_each_other() -> None:
    files = [encode(PHOTO, name) for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF")] * 8
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda content: decode(content, SETTINGS), files))
    for content, decoded in zip(files, drawn, strict=True):
        np.testing.assert_array_equal(decoded.pixels, decode(content, SETTINGS).pixels)


def test_every_suffix_belongs_to_a_format_that_is_read() -> None:
    formats = {Image.registered_extensions().get(f".{suffix}", "PPM") for suffix in IMAGE_SUFFIXES}
    assert formats == {*FORMATS, "MPO", "DIB"}  # read as JPEG, and as the BMP that most .dib are
    assert len(set(IMAGE_SUFFIXES)) == len(IMAGE_SUFFIXES)


def test_the_exception_survives_the_way_between_processes() -> None:
    error = UndecodableImage(Reason.CORRUPT, "cannot read\n<_io.BytesIO object at 0x7f00>")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, copy.detail) == (Reason.CORRUPT, "cannot read <_io.BytesIO object>")
    assert str(copy) == "corrupt: cannot read <_io.BytesIO object>"
