"""Tests for `streaming.images.decode`: invalid files raise `UndecodableImage` with the right reason."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from streaming.images.decode import DecodeSettings, UndecodableImage, decode
from streaming.outcomes import Reason
from support.images.image_files import EVERY_FORMAT, encode, photo, reason_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # from Pillow, for invalid metadata
PHOTO = photo(120, 80)
# Expected reasons for the undecodable images of the shared test data.
EXPECTED_REASONS = {
    "truncated_jpeg.jpg": Reason.TRUNCATED,
    "broken_data_stream.png": Reason.CORRUPT,
    "shortfile.bmp": Reason.TRUNCATED,
    "decompression_bomb.gif": Reason.TOO_MANY_PIXELS,
    "empty.jpg": Reason.EMPTY,
}


def test_odd_images_decode_or_have_expected_reason(shared: Path) -> None:
    folder = shared / "data" / "odd-images"
    rows = list(csv.DictReader((folder / "manifest.csv").open()))
    expected = {row["file"]: EXPECTED_REASONS.get(row["file"]) for row in rows}
    assert {file for file, reason in expected.items() if reason} == {
        row["file"] for row in rows if row["expected"] == "undecodable"
    }
    assert {file: reason_of((folder / file).read_bytes()) for file in expected} == expected


@pytest.mark.parametrize(
    "text",
    [b"Hello", b"\x0c", b"<html>404", b"P3 and so on", b"Python", b"BMW " * 99, bytes(64), b"%!PS"],
)
def test_text_is_unidentified(text: bytes) -> None:
    assert reason_of(text) is Reason.UNIDENTIFIED


SECRET = b"PASSWORD=hunter2"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (SECRET, "is text"),
        (b"\xef\xbb\xbf" + SECRET, "is text"),
        (SECRET.decode().encode("utf-16"), "is text"),
        (b"{" + SECRET + b"}", "is JSON"),
        (b" <!DOCTYPE html><p>" + SECRET, "is HTML"),
        (b"<?xml version='1.0'?><Error>" + SECRET, "is XML"),
        (b"%PDF-1.7 " + SECRET, "is a PDF document"),
        (b"PK\x03\x04" + SECRET, "is a ZIP archive"),
        (b"\x7fELF" + SECRET, "is a program"),
        (b"SQLite format 3\0" + SECRET, "is an SQLite database"),
        (b"\0\1" + SECRET, "begins with no known signature"),
        (bytes(64), "contains only zero bytes"),
        (b"\0\0\0\x18ftypmp42" + SECRET, "is an audio file or a video"),
    ],
)
def test_detail_names_kind_of_file_and_quotes_none_of_it(content: bytes, kind: str) -> None:
    with pytest.raises(UndecodableImage) as caught:
        decode(content, DecodeSettings())
    assert caught.value.detail == f"{kind}, not an image"


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_detail_of_damaged_image_quotes_none_of_it(name: str) -> None:
    original = encode(PHOTO, name)
    for position in range(4, min(300, len(original)), 3):
        content = original[:position] + b"HUNTERhunter" + original[position:]
        details = []
        try:
            decode(content, DecodeSettings(max_pixels=10**6))
        except UndecodableImage as error:
            details.append(error.detail.lower())
        assert "hunt" not in str(details)


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_truncated_file_is_reported_as_truncated(name: str) -> None:
    content = encode(PHOTO, name)
    cuts = range(
        60, len(content) - 60, len(content) // 40
    )  # the last bytes of a PNG are not required
    reasons = [reason_of(content[:cut]) for cut in cuts]
    assert reasons == [Reason.TRUNCATED] * len(cuts)
    for cut in (*range(60), *range(len(content) - 60, len(content))):
        reason_of(content[:cut])


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_flipped_bytes_raise_no_other_exception(name: str) -> None:
    rng = np.random.default_rng(11)
    original = encode(PHOTO, name)
    settings = DecodeSettings(max_pixels=10**6)
    seen = set()
    for _ in range(60):
        content = bytearray(original)
        limit = len(content) if rng.random() < 0.5 else 200  # errors in the header are more diverse
        for index in rng.integers(0, min(limit, len(content)), rng.integers(1, 4)):
            content[index] ^= int(rng.integers(1, 256))
        seen.add(reason_of(bytes(content), settings))
    assert len(seen) > 1
