"""Generate sample photographs for `pomona demo`.

Each label has its own outline, colors and texture. Size, position, rotation, light and noise vary from image to
image, so that the images of a class are similar but not equal.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pomona.demo.fruits import FRUITS, Canvas, Layer, Plane, mix
from streaming.errors import UsageError

SAMPLE_LABELS: tuple[str, ...] = tuple(FRUITS)

_SMALLEST, _LARGEST = 100, 160  # pixels a side
_OTHER_FORMATS = {5: "png", 7: "webp"}  # by number modulo 8; all others are JPEG


def _lit(layer: Layer, pixel: float, light: Plane) -> Plane:
    """Return the layer's colours under a light from the direction `light` (x, y, towards us)."""
    down, right = np.gradient(layer.height, pixel)
    steep = np.sqrt(1 + right**2 + down**2)
    facing = np.clip((light[2] - right * light[0] - down * light[1]) / steep, 0, 1)
    half = light + np.array((0, 0, 1))  # halfway between the lamp and the camera
    half /= np.linalg.norm(half)
    shine = np.clip((half[2] - right * half[0] - down * half[1]) / steep, 0, 1) ** 40
    lit: Plane = layer.colour * (0.42 + 0.72 * facing)[..., None] + layer.gloss * shine[..., None]
    return lit


def _photograph(
    ground: Plane, layers: list[Layer], radius: float, rng: np.random.Generator
) -> Plane:
    """Lay the parts on the ground, lit by one lamp, with their shadow and the camera's noise."""
    covers = [np.clip(layer.edge * radius + 0.5, 0, 1) for layer in layers]
    light = np.array((rng.uniform(-0.7, 0.3), rng.uniform(-0.8, -0.4), 0.8))
    light /= np.linalg.norm(light)
    cast = Image.fromarray((255 * np.max(covers, axis=0)).astype(np.uint8))
    cast = cast.filter(ImageFilter.GaussianBlur(radius * 0.12))
    away = (1, 0, 0.25 * radius * light[0], 0, 1, 0.25 * radius * light[1])
    cast = cast.transform(cast.size, Image.Transform.AFFINE, away, Image.Resampling.BILINEAR)
    picture = ground * (1 - 0.42 / 255 * np.asarray(cast, np.float32))[..., None]
    for layer, cover in zip(layers, covers, strict=True):
        picture = mix(picture, _lit(layer, 1 / radius, light), cover)
    noise = rng.normal(0, 0.012, cast.size[::-1])
    return picture * rng.uniform(0.9, 1.06) + noise[..., None]


def draw(label: str, rng: np.random.Generator) -> Image.Image:
    """Draw one fruit on a light ground.

    Parameters
    ----------
    label : one of `SAMPLE_LABELS`.
    rng : decides all that varies; the same state gives the same pixels.

    Returns
    -------
    An RGB picture, each side 100 to 160 pixels.

    Raises
    ------
    UsageError : no fruit has that label.
    """
    if label not in FRUITS:
        raise UsageError(f"no sample is called {label!r}: choose one of {', '.join(SAMPLE_LABELS)}")
    paint, turn = FRUITS[label]
    width, height = (int(side) for side in rng.integers(_SMALLEST, _LARGEST + 1, 2))
    radius = min(width, height) * rng.uniform(0.34, 0.43)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x = (x - width * rng.uniform(0.46, 0.54)) / radius
    y = (y - height * rng.uniform(0.47, 0.55)) / radius
    angle = rng.uniform(-turn, turn)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    layers = paint(Canvas(u, v, 1 / radius, rng))
    ground = np.array((0.985, 0.98, 0.965)) + rng.uniform(-0.025, 0.025, 3)
    picture = ground * (1 - 0.03 * np.hypot(x, y))[..., None]
    taken = _photograph(picture, layers, radius, rng)
    return Image.fromarray((255 * np.clip(taken, 0, 1)).astype(np.uint8))


def write_samples(folder: Path, per_label: int, seed: int = 0, start: int = 0) -> int:
    """Write `<folder>/<label>/<number>.jpg`, a few as PNG and WEBP, for each label.

    A picture depends on seed, label and number alone: two calls that continue each other write
    what one call would have written.

    Parameters
    ----------
    folder : made where it is missing; files of the same name are replaced.
    per_label : pictures to write for each label; the first is numbered `start`.
    seed : at least 0.

    Returns
    -------
    How many files were written.

    Raises
    ------
    UsageError : a number is negative.
    OSError : the folder cannot be written to.
    """
    for name, value in (("per_label", per_label), ("seed", seed), ("start", start)):
        if value < 0:
            raise UsageError(f"{name}={value} is negative: give a whole number from 0 on")
    for number in range(start, start + per_label):
        suffix = _OTHER_FORMATS.get(number % 8, "jpg")
        for index, label in enumerate(SAMPLE_LABELS):
            image = draw(label, np.random.default_rng((seed, index, number)))
            _place(folder / label / f"{number}.{suffix}", _encode(image, suffix))
    return per_label * len(SAMPLE_LABELS)


def write_broken(folder: Path) -> int:
    """Write images that no decoder can read into label folders, and a `notes.txt` beside them.

    Parameters
    ----------
    folder : made where it is missing; files of the same name are replaced.

    Returns
    -------
    How many broken images were written; `notes.txt`, which is no image by its name, not counted.

    Raises
    ------
    OSError : the folder cannot be written to.
    """
    picture = draw("Kiwi", np.random.default_rng(0))
    jpeg, png = _encode(picture, "jpg"), _encode(picture, "png")
    middle = len(png) // 2
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    gigantic = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    broken = {
        "Apple Red/broken-empty.jpg": b"",
        "Banana/broken-text.jpg": b"A banana, in words: long, yellow, bent.\n",
        "Kiwi/broken-truncated.jpg": jpeg[: len(jpeg) // 2],
        "Lemon/broken-garbled.png": png[:middle] + bytes(1_000) + png[middle + 1_000 :],
        "Orange/broken-gigantic.png": gigantic,
    }
    for name, content in broken.items():
        _place(folder / name, content)
    _place(folder / "Plum" / "notes.txt", b"Not an image: Pomona passes over this file.\n")
    return len(broken)


def _encode(image: Image.Image, suffix: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, {"jpg": "JPEG"}.get(suffix, suffix), quality=90)
    return stream.getvalue()


def _place(path: Path, content: bytes) -> None:
    # A stream that lists the folder passes over names with a leading dot: it sees all or nothing.
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
