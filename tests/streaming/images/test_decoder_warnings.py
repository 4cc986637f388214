"""Tests for `streaming.images.decoder_warnings`."""

from __future__ import annotations

import os
import sys
import time
import warnings
from contextlib import suppress

import pytest

from streaming.images import decoder_warnings
from streaming.images.decode import UndecodableImage, decode
from streaming.images.decoder_warnings import (
    MAX_COUNTED,
    OTHER,
    WarningCounts,
    collect_warnings,
)
from support.images.image_files import RAW, damaged_tiff


def test_warnings_of_python_and_of_c_are_collected(capfd: pytest.CaptureFixture[str]) -> None:
    with collect_warnings() as messages:
        warnings.warn("from Python", stacklevel=1)
        os.write(2, b"from C\n\nfrom C\n")
        print("from a print", file=sys.__stderr__)
        assert messages == []
    assert set(messages) == {"from Python", "from C", "from a print"}
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_warnings_of_libtiff_are_collected_if_the_image_fails(
    capfd: pytest.CaptureFixture[str],
) -> None:
    content = damaged_tiff("tiff_adobe_deflate")
    with collect_warnings() as messages, pytest.raises(UndecodableImage):
        decode(content, RAW)
    assert len(messages) == 1
    assert "ZIPDecode: Decoding error" in messages[0]
    assert capfd.readouterr().err == ""


def test_each_image_has_its_own_warnings() -> None:
    for number in range(300):  # more than the number of file descriptors, if one leaked
        with collect_warnings() as messages:
            if number % 2:
                os.write(2, b"warning %d\n" % number)
        assert messages == [f"warning {number}"] * (number % 2)


def test_collected_text_is_bounded() -> None:
    with collect_warnings() as messages, suppress(BlockingIOError):
        for number in range(10_000):
            os.write(2, b"%d" % number + 1000 * b"x" + b"\n")
    assert len(messages) == decoder_warnings.MAX_MESSAGES
    assert max(map(len, messages)) <= decoder_warnings.MAX_LENGTH


def test_collecting_costs_less_than_a_tenth_of_a_millisecond() -> None:
    seconds = []
    for _ in range(100):
        start = time.perf_counter()
        with collect_warnings():
            pass
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1e-4  # decoding a small JPEG takes 1 ms


def test_counts_group_messages_that_differ_in_numbers() -> None:
    counts, other = WarningCounts(), WarningCounts()
    counts.add("a", ["error at scanline 17", "error at scanline 18"])
    counts.add("b", [])
    other.add("c", ["error at scanline 2", "unknown field"])
    counts.update(other)
    assert counts.images == 2
    assert counts.messages == {"error at scanline N": 2, "unknown field": 1}
    assert counts.examples == {"error at scanline N": "a", "unknown field": "c"}


def test_number_of_counted_messages_is_bounded() -> None:
    counts = WarningCounts()
    for number in range(100):
        counts.add(str(number), ["x" * number + "!"])
    assert len(counts.messages) == MAX_COUNTED + 1
    assert counts.messages[OTHER] == 100 - MAX_COUNTED
    assert counts.images == 100
