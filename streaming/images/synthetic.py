"""Generate photographs of fruits: for the demo, and to calibrate a quantized network without user data.

Each label has its own outline, colors and texture. Size, position, rotation, light and noise vary from image to
image, so that the images of a class are similar but not equal.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from streaming.errors import UsageError
from streaming.images.synthetic_fruits import FRUITS, Canvas, Layer, Plane, mix

SAMPLE_LABELS: tuple[str, ...] = tuple(FRUITS)

_SMALLEST, _LARGEST = 100, 160  # pixels a side


def _shade(layer: Layer, pixel: float, light: Plane) -> Plane:
    """Shade a layer for light from the direction `light` (x, y, towards the viewer)."""
    down, right = np.gradient(layer.height, pixel)
    steep = np.sqrt(1 + right**2 + down**2)
    diffuse = np.clip((light[2] - right * light[0] - down * light[1]) / steep, 0, 1)
    half = light + np.array((0, 0, 1))  # halfway between light and camera
    half /= np.linalg.norm(half)
    specular = np.clip((half[2] - right * half[0] - down * half[1]) / steep, 0, 1) ** 40
    shaded: Plane = (
        layer.color * (0.42 + 0.72 * diffuse)[..., None] + layer.gloss * specular[..., None]
    )
    return shaded


def _render(
    background: Plane, layers: list[Layer], radius: float, rng: np.random.Generator
) -> Plane:
    """Render layers on a background with one light, a shadow and camera noise."""
    covers = [np.clip(layer.edge * radius + 0.5, 0, 1) for layer in layers]
    light = np.array((rng.uniform(-0.7, 0.3), rng.uniform(-0.8, -0.4), 0.8))
    light /= np.linalg.norm(light)
    shadow = Image.fromarray((255 * np.max(covers, axis=0)).astype(np.uint8))
    shadow = shadow.filter(ImageFilter.GaussianBlur(radius * 0.12))
    offset = (1, 0, 0.25 * radius * light[0], 0, 1, 0.25 * radius * light[1])
    shadow = shadow.transform(
        shadow.size, Image.Transform.AFFINE, offset, Image.Resampling.BILINEAR
    )
    image = background * (1 - 0.42 / 255 * np.asarray(shadow, np.float32))[..., None]
    for layer, cover in zip(layers, covers, strict=True):
        image = mix(image, _shade(layer, 1 / radius, light), cover)
    noise = rng.normal(0, 0.012, shadow.size[::-1])
    return image * rng.uniform(0.9, 1.06) + noise[..., None]


def draw(label: str, rng: np.random.Generator) -> Image.Image:
    """Draw one fruit on a light background.

    Parameters
    ----------
    label : str
        One of `SAMPLE_LABELS`.
    rng : numpy.random.Generator
        Source of all variation; the same state produces the same pixels.

    Returns
    -------
    PIL.Image.Image
        An RGB image; each side has 100 to 160 pixels.

    Raises
    ------
    UsageError
        If the label is unknown.
    """
    if label not in FRUITS:
        raise UsageError(f"unknown label {label!r}: use one of {', '.join(SAMPLE_LABELS)}")
    draw_layers, max_rotation = FRUITS[label]
    width, height = (int(side) for side in rng.integers(_SMALLEST, _LARGEST + 1, 2))
    radius = min(width, height) * rng.uniform(0.34, 0.43)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x = (x - width * rng.uniform(0.46, 0.54)) / radius
    y = (y - height * rng.uniform(0.47, 0.55)) / radius
    angle = rng.uniform(-max_rotation, max_rotation)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    layers = draw_layers(Canvas(u, v, 1 / radius, rng))
    background = np.array((0.985, 0.98, 0.965)) + rng.uniform(-0.025, 0.025, 3)
    background = background * (1 - 0.03 * np.hypot(x, y))[..., None]
    pixels = _render(background, layers, radius, rng)
    return Image.fromarray((255 * np.clip(pixels, 0, 1)).astype(np.uint8))
