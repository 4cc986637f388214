"""Draw fruits: outline, height and color of each as functions of the plane."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.floating[Any]]  # (height, width), or (height, width, 3): colors in [0, 1]
Color = Plane | tuple[float, float, float]
Pair = tuple[float, float]

_STEM, _LEAF = (0.36, 0.24, 0.13), (0.30, 0.58, 0.18)


@dataclass(frozen=True)
class Canvas:
    """The coordinate system of one fruit: the fruit has radius 1, u points right and v down."""

    u: Plane
    v: Plane
    pixel: float  # side length of a pixel in units of the fruit's radius
    rng: np.random.Generator

    def grain(self, cells: int) -> Plane:
        """Return smooth noise in [0, 1] with about `cells` spots along each side."""
        small = Image.fromarray(self.rng.random((cells, cells), dtype=np.float32))
        height, width = self.u.shape
        noise = small.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(noise, np.float32).clip(0, 1)


@dataclass(frozen=True)
class Layer:
    """One part of a fruit: `edge` is the distance to its outline, positive inside."""

    edge: Plane
    height: Plane
    color: Plane
    gloss: float = 0.0


def mix(first: Color, second: Color, fraction: Plane) -> Plane:
    """Interpolate between `first` (fraction 0) and `second` (fraction 1) for each pixel."""
    start, end = np.asarray(first, np.float32), np.asarray(second, np.float32)
    mixed: Plane = start + (end - start) * np.clip(fraction, 0, 1)[..., None]
    return mixed


def _bell(values: Plane, width: float) -> Plane:
    bell: Plane = np.exp(-np.square(values / width))
    return bell


def _dome(canvas: Canvas, radius: Plane | float, depth: float = 0.9) -> tuple[Plane, Plane]:
    """Return edge and height of a dome whose outline has the distance `radius` from the center."""
    rho = np.hypot(canvas.u, canvas.v) / radius
    return (1 - rho) * radius, depth * np.sqrt(np.clip(1 - rho * rho, 0, 1))


def _blob(canvas: Canvas, center: Pair, size: Pair, rotation: float) -> Plane:
    """Return the edge of an ellipse with semi-axes `size`, rotated by `rotation` radians."""
    u, v = canvas.u - center[0], canvas.v - center[1]
    along = u * math.cos(rotation) + v * math.sin(rotation)
    across = v * math.cos(rotation) - u * math.sin(rotation)
    return (1 - np.hypot(along / size[0], across / size[1])) * min(size)


def _apple(canvas: Canvas) -> list[Layer]:
    u, v, rng = canvas.u, canvas.v, canvas.rng
    side = np.arctan2(u, -v)  # 0 at the top
    bottom = np.pi - np.abs(side)
    radius = 0.95 - 0.24 * _bell(side, 0.38) - 0.09 * _bell(bottom, 0.3) - 0.05 * _bell(bottom, 1)
    edge, height = _dome(canvas, radius)
    hollow = np.exp(-((u / 0.42) ** 2 + ((v + 0.72) / 0.26) ** 2))
    streaks = np.sin(np.arctan2(u, v + 1.6) * 60 + 16 * canvas.grain(6)) * 0.5 + 0.5
    red = mix((0.66, 0.05, 0.09), (0.87, 0.16, 0.13), streaks * canvas.grain(6))
    skin = mix(red, (0.93, 0.74, 0.28), hollow * 0.9 + 1.2 * (canvas.grain(4) - 0.6))
    stem = _blob(canvas, (0.05, -0.86), (0.27, 0.045), rng.uniform(1.75, 2.0))
    leaf = _blob(canvas, (0.32, -0.93), (0.32, 0.13), rng.uniform(-0.5, 0.0))
    return [
        Layer(edge, height - 0.3 * hollow, skin, 0.55),
        Layer(leaf, leaf * 0.8, mix(_LEAF, (0.5, 0.72, 0.3), _bell(leaf - 0.13, 0.02)), 0.2),
        Layer(stem, stem * 2, mix(_STEM, _STEM, stem), 0.1),
    ]


def _banana(canvas: Canvas) -> list[Layer]:
    u, v = canvas.u * 0.84, canvas.v * 0.84 + 0.8
    along = np.arctan2(u, v) / canvas.rng.uniform(0.82, 0.98)  # -1 and 1 at the tips
    across = np.hypot(u, v) - 1.08
    width = 0.075 + 0.24 * np.sqrt(np.clip(1 - np.abs(along) ** 2.6, 0, 1))
    edge = np.minimum(width - np.abs(across), (1.08 - np.abs(along)) * 0.9)
    height = np.sqrt(np.clip(width**2 - across**2, 0, 1))
    ripe = mix((0.97, 0.80, 0.16), (0.86, 0.83, 0.25), canvas.grain(3) - 0.4)
    ridged = mix(ripe, (0.74, 0.55, 0.12), 0.55 * _bell(across - 0.28 * width, 0.025))
    spots = np.clip((canvas.grain(26) - 0.86) * 9, 0, 0.75)
    skin = mix(ridged, (0.38, 0.23, 0.08), spots)
    return [Layer(edge, height, mix(skin, (0.30, 0.20, 0.09), (np.abs(along) - 0.9) * 9), 0.15)]


def _kiwi(canvas: Canvas) -> list[Layer]:
    angle = np.arctan2(canvas.v, canvas.u)
    far = np.hypot(canvas.u, canvas.v * canvas.rng.uniform(1.08, 1.2))
    rays = 0.5 + 0.5 * np.sin(angle * 24 + 3 * canvas.grain(5))
    flesh = mix((0.40, 0.63, 0.12), (0.66, 0.80, 0.28), rays * _bell(far - 0.5, 0.28))
    cut = mix(flesh, (0.95, 0.94, 0.76), 1.6 * _bell(far + 0.03 * rays, 0.27))
    around = (angle / (2 * np.pi) * 26) % 1 - 0.5
    ring = far - 0.42 - 0.05 * np.sin(np.floor(angle / (2 * np.pi) * 26) * 2.4)
    seeds = 1 - np.hypot(around * far / 0.12, ring / 0.075)
    cut = mix(cut, (0.10, 0.08, 0.06), seeds * 2.5)
    fuzz = mix((0.45, 0.31, 0.17), (0.60, 0.45, 0.27), canvas.grain(40))
    edge = np.float32(1) - far
    return [Layer(edge, 0.25 * np.sqrt(np.clip(edge, 0, 0.1)), mix(fuzz, cut, (edge - 0.07) * 28))]


def _lemon(canvas: Canvas) -> list[Layer]:
    angle = np.arctan2(canvas.v, canvas.u)
    nose, tail = _bell(angle, 0.17), _bell(np.pi - np.abs(angle), 0.24)
    radius = 0.66 / np.hypot(np.sin(angle), np.cos(angle) * 0.8) + 0.2 * nose + 0.1 * tail
    edge, height = _dome(canvas, radius, 0.7)
    tint = canvas.grain(4) - 0.3 + nose
    skin = mix((0.99, 0.91, 0.22), (0.87, 0.86, 0.20), tint)
    return [Layer(edge, height + 0.03 * canvas.grain(38), skin, 0.3)]


def _orange(canvas: Canvas) -> list[Layer]:
    edge, height = _dome(canvas, 0.94)
    turn, far = canvas.rng.uniform(0, 2 * np.pi), canvas.rng.uniform(0.2, 0.6)
    u, v = canvas.u - far * math.cos(turn), canvas.v - far * math.sin(turn)
    star = 0.075 + 0.035 * np.cos(5 * np.arctan2(v, u)) - np.hypot(u, v)
    skin = mix((0.98, 0.55, 0.07), (0.93, 0.44, 0.03), canvas.grain(5))
    skin = mix(skin, (0.45, 0.52, 0.18), star / canvas.pixel + 0.5)
    dent = 0.1 * _bell(np.hypot(u, v), 0.16)
    return [Layer(edge, height + 0.035 * canvas.grain(56) - dent, skin, 0.35)]


def _plum(canvas: Canvas) -> list[Layer]:
    angle = np.arctan2(canvas.v, canvas.u)
    radius = 0.74 / np.hypot(np.sin(angle), np.cos(angle) * 0.8)
    edge, height = _dome(canvas, radius - 0.07 * _bell(np.pi - np.abs(angle), 0.2), 0.75)
    crease = _bell(canvas.v - 0.28 * (1 - canvas.u**2), 0.05) * (canvas.u < 0.75)
    skin = mix((0.25, 0.08, 0.30), (0.46, 0.11, 0.32), canvas.grain(4) - 0.15)
    bloom = 1.1 * canvas.grain(5) * canvas.grain(12)
    skin = mix(mix(skin, (0.55, 0.52, 0.75), bloom), (0.13, 0.03, 0.16), 0.55 * crease)
    stem = _blob(canvas, (-0.92, 0.0), (0.17, 0.05), 0.15)
    return [
        Layer(stem, stem * 2, mix(_STEM, _STEM, stem), 0.1),
        Layer(edge, height - 0.05 * crease, skin, 0.4),
    ]


FRUITS: dict[
    str, tuple[Callable[[Canvas], list[Layer]], float]
] = {  # function, maximum rotation in radians
    "Apple Red": (_apple, 0.7),
    "Banana": (_banana, math.pi),
    "Kiwi": (_kiwi, math.pi),
    "Lemon": (_lemon, math.pi),
    "Orange": (_orange, math.pi),
    "Plum": (_plum, math.pi),
}
