"""Write sample photographs for `pomona demo` into label folders."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from streaming.errors import UsageError
from streaming.images.synthetic import SAMPLE_LABELS, draw
from streaming.storage.write_file import replace_file

_OTHER_FORMATS = {5: "png", 7: "webp"}  # by number modulo 8; all others are JPEG


def write_samples(folder: Path, per_label: int, seed: int = 0, start: int = 0) -> int:
    """Write ``<folder>/<label>/<number>.jpg`` for each label; some are PNG or WebP.

    An image depends only on seed, label and number: two calls with consecutive numbers write the same files as one.

    Parameters
    ----------
    folder : Path
        Created if it does not exist; existing files are replaced.
    per_label : int
        Number of images per label.
    seed : int
        Seed of the random generator, 0 or more.
    start : int
        Number of the first image.

    Returns
    -------
    int
        Number of files written.

    Raises
    ------
    UsageError
        If a number is negative.
    OSError
        If the folder is not writable.
    """
    for name, value in (("per_label", per_label), ("seed", seed), ("start", start)):
        if value < 0:
            raise UsageError(f"{name}={value} is negative: give 0 or more")
    for number in range(start, start + per_label):
        suffix = _OTHER_FORMATS.get(number % 8, "jpg")
        for index, label in enumerate(SAMPLE_LABELS):
            image = draw(label, np.random.default_rng((seed, index, number)))
            _write_atomically(folder / label / f"{number}.{suffix}", _encode(image, suffix))
    return per_label * len(SAMPLE_LABELS)


def write_broken(folder: Path) -> int:
    """Write images that cannot be decoded into the label folders, and a ``notes.txt``.

    Parameters
    ----------
    folder : Path
        Created if it does not exist; existing files are replaced.

    Returns
    -------
    int
        Number of broken images, without ``notes.txt``, which has no image suffix.

    Raises
    ------
    OSError
        If the folder is not writable.
    """
    image = draw("Kiwi", np.random.default_rng(0))
    jpeg, png = _encode(image, "jpg"), _encode(image, "png")
    middle = len(png) // 2
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    gigantic = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    broken = {
        "Apple Red/broken-empty.jpg": b"",
        "Banana/broken-text.jpg": b"This is text, not a JPEG image.\n",
        "Kiwi/broken-truncated.jpg": jpeg[: len(jpeg) // 2],
        "Lemon/broken-garbled.png": png[:middle] + bytes(1_000) + png[middle + 1_000 :],
        "Orange/broken-gigantic.png": gigantic,
    }
    for name, content in broken.items():
        _write_atomically(folder / name, content)
    _write_atomically(folder / "Plum" / "notes.txt", b"Not an image: Pomona ignores this file.\n")
    return len(broken)


def _encode(image: Image.Image, suffix: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, {"jpg": "JPEG"}.get(suffix, suffix), quality=90)
    return stream.getvalue()


def _write_atomically(path: Path, content: bytes) -> None:
    # The stream ignores names with a leading dot, so that it never reads an incomplete file.
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
