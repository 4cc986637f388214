"""Build ICC profiles of each kind from formulas, without LittleCMS."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

D50 = (0.9642, 1.0, 0.8249)
# Primaries and white of each color space, as matrices from linear RGB to XYZ relative to D50 (Lindbloom, Bradford).
SRGB = (
    (0.4360747, 0.3850649, 0.1430804),
    (0.2225045, 0.7168786, 0.0606169),
    (0.0139322, 0.0971045, 0.7141733),
)
DISPLAY_P3 = (
    (0.515121, 0.291977, 0.157104),
    (0.241196, 0.692245, 0.0665741),
    (-0.00105, 0.0418854, 0.784073),
)
ADOBE_RGB = (
    (0.6097559, 0.2052401, 0.1492240),
    (0.3111242, 0.6256560, 0.0632197),
    (0.0194811, 0.0608902, 0.7448387),
)

SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""Parameters of the curve of sRGB and Display P3: gamma, a, b, c, d of a parametric curve of type 3."""


def matrix_profile(
    matrix: Sequence[Sequence[float]], curve: float | Sequence[float], name: str = "test"
) -> bytes:
    """Return an RGB profile with a matrix and one curve for all channels: a gamma, or parameters as `SRGB_CURVE`."""
    columns = np.asarray(matrix).T
    tags = {f"{channel}XYZ": _xyz(columns[i]) for i, channel in enumerate("rgb")}
    tags |= {f"{channel}TRC": _curve(curve) for channel in "rgb"}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | _common(name))


def gray_profile(gamma: float) -> bytes:
    """Return a profile of gray with a gamma."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {"kTRC": _curve(gamma)} | _common("gray"))


def cmyk_profile(grid: int = 9) -> bytes:
    """Return a profile of four inks: a table from CMYK to Lab, computed by `cmyk_to_linear`."""
    axis = np.linspace(0, 1, grid)
    cmyk = np.stack(np.meshgrid(axis, axis, axis, axis, indexing="ij"), -1).reshape(-1, 4)
    lab = _lab(cmyk_to_linear(cmyk) @ np.asarray(SRGB).T)
    encoded = np.rint((lab + np.array([0, 128, 128])) * [65280 / 100, 256, 256]).clip(0, 65535)
    identity = struct.pack(">9i", *(int(v * 65536) for v in np.eye(3).ravel()))
    ramp = struct.pack(">2H", 0, 65535)
    lut = b"mft2\0\0\0\0" + bytes((4, 3, grid, 0)) + identity + struct.pack(">2H", 2, 2)
    lut += ramp * 4 + encoded.astype(">u2").tobytes() + ramp * 3
    tags = {"A2B0": lut, "A2B1": lut} | _common("inks")
    return _profile(b"prtr", b"CMYK", b"Lab ", tags)


def cmyk_to_linear(cmyk: Floats) -> Floats:
    """Return linear sRGB of inks (0..1) that absorb most of one color each; all colors lie within sRGB."""
    absorbed = np.array([[0.8, 0.15, 0.05], [0.1, 0.75, 0.2], [0.02, 0.1, 0.7], [0.7, 0.7, 0.7]])
    return np.prod(1 - cmyk[..., :, None] * absorbed, axis=-2)


def encode_srgb(linear: Floats) -> Floats:
    """Return sRGB values (0..255) of linear ones (0..1), clipped."""
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def decode_curve(values: Floats, curve: float | Sequence[float]) -> Floats:
    """Return linear values of encoded ones (0..1)."""
    if isinstance(curve, float | int):
        return values**curve
    gamma, a, b, c, d = curve
    return np.where(values >= d, (a * values + b).clip(0) ** gamma, c * values)


def _lab(xyz: Floats) -> Floats:
    ratio = xyz / np.asarray(D50)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / 3 / (6 / 29) ** 2 + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def _profile(device: bytes, space: bytes, pcs: bytes, tags: dict[str, bytes]) -> bytes:
    directory, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        directory += name.encode() + struct.pack(">2I", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s", start + len(data), b"\0" * 4, 0x02400000, device, space, pcs
    )
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return header + _s15(D50) + bytes(128 - 80) + directory + data


def _common(name: str) -> dict[str, bytes]:
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    return {"desc": description, "cprt": b"text\0\0\0\0none\0", "wtpt": _xyz(D50)}


def _xyz(values: Sequence[float] | Floats) -> bytes:
    return b"XYZ \0\0\0\0" + _s15(values)


def _curve(curve: float | Sequence[float]) -> bytes:
    if isinstance(curve, float | int):
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(curve * 256))
    return b"para\0\0\0\0" + struct.pack(">2H", 3, 0) + _s15(curve)


def _s15(values: Sequence[float] | Floats) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)
