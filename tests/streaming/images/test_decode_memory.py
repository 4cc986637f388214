"""Tests for the peak memory of decoding images of 20 megapixels, measured in a separate process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from support.images.image_files import encode, photo

WIDTH, HEIGHT = 5472, 3648
MB = 2**20
# VmHWM restarts with each program, unlike the maximum of getrusage.
STATUS = Path("/proc/self/status")
PROGRAM = """
import sys
from pathlib import Path
from streaming.images.decode import DecodeSettings, decode

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

content, thumbnail = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes()
for _ in range(16):
    decode(thumbnail, DecodeSettings())
before = peak()
decode(content, DecodeSettings())
decode(thumbnail, DecodeSettings())
print(peak() - before)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STATUS.exists(), reason="requires /proc of Linux"),
]


@pytest.fixture(scope="module")
def scan() -> Image.Image:
    """Return an RGB image of 20 megapixels."""
    tile = np.asarray(photo(912, 608))
    return Image.fromarray(np.tile(tile, (HEIGHT // 608, WIDTH // 912, 1)))


def plain(scan: Image.Image) -> Image.Image:
    """Return an image of one color, which is encoded faster; decoding it needs the same memory."""
    return Image.new("RGB", scan.size, "teal")


def sixteen_bit(scan: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(scan.convert("L")).astype(np.uint16) * 257)


def with_alpha(scan: Image.Image) -> Image.Image:
    image = scan.copy()
    image.putalpha(scan.getchannel("G"))
    return image


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


# Encoder, and maximum additional memory in MB.
FILES: dict[str, tuple[Callable[[Image.Image], bytes], int]] = {
    "JPEG": (lambda scan: encode(scan, "JPEG"), 20),
    "JPEG, rotated": (lambda scan: encode(scan, "JPEG", exif=rotated()), 20),
    "JPEG, progressive": (lambda scan: encode(scan, "JPEG", progressive=True), 90),
    "JPEG, progressive, 4:4:4": (
        lambda scan: encode(plain(scan), "JPEG", progressive=True, subsampling=0),
        150,
    ),
    "WebP": (lambda scan: encode(plain(scan), "WEBP", method=0), 370),
    "JPEG 2000": (lambda scan: encode(plain(scan), "JPEG2000"), 420),
    "JPEG, CMYK": (lambda scan: encode(scan.convert("CMYK"), "JPEG"), 30),
    "PNG": (lambda scan: encode(scan, "PNG", compress_level=0), 100),
    "PNG with alpha": (lambda scan: encode(with_alpha(scan), "PNG", compress_level=0), 200),
    "16-bit TIFF": (lambda scan: encode(sixteen_bit(scan), "TIFF"), 160),
    "float TIFF": (
        lambda scan: encode(
            Image.fromarray(np.asarray(sixteen_bit(scan)).astype(np.float32)), "TIFF"
        ),
        240,
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_peak_memory_of_20_megapixels(kind: str, scan: Image.Image, tmp_path: Path) -> None:
    make_content, megabytes = FILES[kind]
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(make_content(scan))
    small.write_bytes(encode(photo(100, 100), "JPEG"))
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(large), str(small)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert int(run.stdout) < megabytes * MB, f"{int(run.stdout) / MB:.0f} MB"
