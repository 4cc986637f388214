"""Whatever is wrong with a file, one exception says so, with a reason that fits."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from streaming.images.decode import DecodeSettings
from streaming.outcomes import Reason
from support.image_files import EVERY_FORMAT, encode, photo, reason_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of broken metadata
PHOTO = photo(120, 80)
FITTING = {  # of the undecodable odd images
    "truncated_jpeg.jpg": Reason.TRUNCATED,
    "broken_data_stream.png": Reason.CORRUPT,
    "shortfile.bmp": Reason.TRUNCATED,
    "decompression_bomb.gif": Reason.TOO_MANY_PIXELS,
    "empty.jpg": Reason.EMPTY,
}


def test_every_odd_image_decodes_or_has_the_fitting_reason(shared: Path) -> None:
    folder = shared / "data" / "odd-images"
    rows = list(csv.DictReader((folder / "manifest.csv").open()))
    wanted = {row["file"]: FITTING.get(row["file"]) for row in rows}
    assert {file for file, reason in wanted.items() if reason} == {
        row["file"] for row in rows if row["expected"] == "undecodable"
    }
    assert {file: reason_of((folder / file).read_bytes()) for file in wanted} == wanted


@pytest.mark.parametrize(
    "text",
    [b"Hello", b"\x0c", b"<html>404", b"P3 and so on", b"Python", b"BMW " * 99, bytes(64), b"%!PS"],
)
def test_a_text_with_the_name_of_an_image_is_unidentified(text: bytes) -> None:
    assert reason_of(text) is Reason.UNIDENTIFIED


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_a_file_cut_anywhere_decodes_or_says_that_it_is_cut(name: str) -> None:
    content = encode(PHOTO, name)
    cuts = range(60, len(content) - 60, len(content) // 40)  # a PNG needs no end to be whole
    reasons = [reason_of(content[:cut]) for cut in cuts]
    assert reasons == [Reason.TRUNCATED] * len(cuts)
    for cut in (*range(60), *range(len(content) - 60, len(content))):
        reason_of(content[:cut])


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_flipped_bytes_raise_nothing_else(name: str) -> None:
    rng = np.random.default_rng(11)
    original = encode(PHOTO, name)
    settings = DecodeSettings(max_pixels=10**6)
    seen = set()
    for _ in range(60):
        content = bytearray(original)
        reach = len(content) if rng.random() < 0.5 else 200  # headers break in more ways
        for place in rng.integers(0, min(reach, len(content)), rng.integers(1, 4)):
            content[place] ^= int(rng.integers(1, 256))
        seen.add(reason_of(bytes(content), settings))
    assert len(seen) > 1
