"""Collect what decoders warn about: with Python's `warnings` and `logging`, or on file descriptor 2 from C.

A library such as libtiff prints its warnings itself, without the name of the image, once per damaged image or strip.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache

MAX_MESSAGES = 3
"""Different messages of one image that are kept."""
MAX_LENGTH = 200
"""Characters of a message that are kept."""
MAX_COUNTED = 20
"""Different messages that are counted; the images of further ones are counted as `OTHER`."""
OTHER = "other warnings"

_STDERR = 2
_NUMBER = re.compile(r"\b(0x[0-9a-fA-F]+|\d+)\b")


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect the warnings of the block instead of printing them; costs 20 microseconds.

    It redirects file descriptor 2 of the process, and therefore output of other threads too. Use it only in workers.

    Yields
    ------
    list of str
        Filled when the block ends, also by an exception: at most `MAX_MESSAGES` different messages of one line.
    """
    messages: list[str] = []
    saved = None
    with suppress(OSError):  # no file descriptor 2, or none left: C libraries print their warnings
        reader, writer = _pipe()
        saved = os.dup(_STDERR)
        os.dup2(writer, _STDERR)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
    finally:
        lines = [str(warning.message) for warning in caught]
        if saved is not None:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(saved, _STDERR)
            os.close(saved)
            lines += _read(reader).splitlines()
        cleaned = (" ".join(line.split())[:MAX_LENGTH] for line in lines)
        messages += list(dict.fromkeys(filter(None, cleaned)))[:MAX_MESSAGES]


@cache
def _pipe() -> tuple[int, int]:
    """Return the ends of a pipe that all blocks of this process use; what exceeds its 64 kB is discarded."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def _read(reader: int) -> str:
    """Return what a pipe contains, and empty it."""
    data = b""
    with suppress(BlockingIOError):
        while part := os.read(reader, 2**16):
            data += part
    return data.decode(errors="replace")


@dataclass
class WarningCounts:
    """Images with warnings.

    Attributes
    ----------
    images : int
        Number of images with at least one warning.
    messages : Counter
        Number of images by message; numbers in a message are replaced by ``N``.
    examples : dict
        Path of one image by message.
    """

    images: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, messages: list[str]) -> None:
        """Count the warnings of one image."""
        if messages:
            self.images += 1
        for message in dict.fromkeys(_NUMBER.sub("N", message) for message in messages):
            self._count(message, 1, path)

    def update(self, other: WarningCounts) -> None:
        """Add the counts of other images."""
        self.images += other.images
        for message, images in other.messages.items():
            self._count(message, images, other.examples[message])

    def _count(self, message: str, images: int, path: str) -> None:
        if message not in self.messages and len(self.messages) >= MAX_COUNTED:
            message = OTHER
        self.messages[message] += images
        self.examples.setdefault(message, path)
