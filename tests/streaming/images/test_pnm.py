"""Tests for `streaming.images.pnm`: Netpbm files have the pixels that Pillow decodes, without its loops in Python."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from streaming.images.decode import DecodeSettings, decode
from streaming.outcomes import Reason
from support.images.image_files import SIDE, decode_pixels, reason_of

RNG = np.random.default_rng(3)
SAMPLES = RNG.integers(0, 1000, (SIDE, SIDE, 3))


def text(samples: np.ndarray, separator: str = " ") -> bytes:
    return separator.join(map(str, samples.ravel())).encode()


def header(kind: int, maximum: int | None = None, size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    numbers = [*size] + ([maximum] if maximum else [])
    return f"P{kind}\n# comment 9\n{' '.join(map(str, numbers))}\n".encode()


GRAY, BITS = SAMPLES[..., 0], SAMPLES[..., 0] % 2
FILES = {
    "P6 of 10 bits": header(6, 999) + SAMPLES.astype(">u2").tobytes(),
    "P6 of 16 bits": header(6, 65535) + (SAMPLES * 65).astype(">u2").tobytes(),
    "P6 above its maximum": header(6, 100) + (SAMPLES % 130).astype("u1").tobytes(),
    "P5 of 10 bits": header(5, 999) + GRAY.astype(">u2").tobytes(),
    "P5 of 6 bits": header(5, 63) + (GRAY % 64).astype("u1").tobytes(),
    "P3": header(3, 999) + text(SAMPLES),
    "P3 of 8 bits": header(3, 255) + text(SAMPLES % 256, "\r\n"),
    "P2": header(2, 999) + text(GRAY, "\n"),
    "P2 of 8 bits": header(2, 255) + text(GRAY % 256, " \t"),
    "P2 with comments": header(2, 999) + text(GRAY, " # 1 2 3\n"),
    "P2 with more numbers": header(2, 999) + text(GRAY) + b" 1 2 3",
    "P1": header(1) + text(BITS),
    "P1 without spaces": header(1) + text(BITS, ""),
    "P1 with comments": header(1) + text(BITS, "#0\n"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("block", [2**22, 100])
def test_pixels_equal_those_of_pillow(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.images.pnm._BLOCK", block)
    image = Image.open(io.BytesIO(FILES[name]))
    expected = np.asarray(image)
    if image.mode == "I":
        expected = np.rint(expected * (255 / 65535))
    if image.mode == "1":
        expected = expected * 255
    if expected.ndim == 2:
        expected = np.repeat(expected[..., None], 3, 2)
    np.testing.assert_array_equal(decode_pixels(FILES[name]), expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (FILES["P3"][:-400], Reason.TRUNCATED),
        (FILES["P6 of 10 bits"][:-1], Reason.TRUNCATED),
        (FILES["P1"][:-40], Reason.TRUNCATED),
        (header(2, 100) + text(GRAY), Reason.CORRUPT),
        (header(2, 999) + b"1 2 three " + text(GRAY), Reason.CORRUPT),
        (header(2, 999) + b"1 -2 " + text(GRAY), Reason.CORRUPT),
        (header(2, 999) + b"9" * 5000 + b" " + text(GRAY), Reason.CORRUPT),
        (header(1) + b"0 1 2 " + text(BITS), Reason.CORRUPT),
        (header(2, 99999) + text(GRAY), Reason.CORRUPT),
        (header(6, 255, (0, 5)) + bytes(100), Reason.CORRUPT),
        (b"P7\nWIDTH 1\nHEIGHT 1\n", Reason.UNSUPPORTED),
        (b"PF\n1 1\n-1.0\n" + bytes(12), Reason.UNSUPPORTED),
    ],
)
def test_invalid_samples_have_a_reason(content: bytes, reason: Reason) -> None:
    assert reason_of(content) is reason


@pytest.mark.slow
def test_large_files_are_decoded_fast() -> None:
    """0.75 megapixels, which took Pillow 2 s each on an idle core."""
    samples = RNG.integers(0, 1000, (750, 1000, 3))
    for content in (
        header(6, 999, (1000, 750)) + samples.astype(">u2").tobytes(),
        header(3, 999, (1000, 750)) + text(samples),
    ):
        start = time.process_time()
        decode(content, DecodeSettings())
        assert time.process_time() - start < 1
