"""The tensors of MobileNetV2 as data: layers, shapes, and seeded random weights.

They are listed here, not read from Keras, so that a weights file can be validated in milliseconds instead of the
seconds that TensorFlow needs to start.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

ARCHITECTURE = "MobileNetV2"
INPUT_SIZE = 224
WIDTH = 1280
# A constant, because Keras names the layer differently in the second network of a process.
LAYER = "global_average_pooling2d"

Tensors = Mapping[str, tuple[NDArray[np.float32], ...]]

# Expansion, output channels and repeats of each stage: table 2 of the MobileNetV2 paper (arXiv 1801.04381).
_STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


@dataclass(frozen=True, slots=True)
class WeightedLayer:
    """One layer with weights.

    Attributes
    ----------
    name : str
        Keras name of the layer.
    kind : str
        Keras class of the layer in snake case, as used for group names in `.weights.h5`.
    shapes : tuple of tuple of int
        Shape of each tensor, in the order of Keras: kernel; or gamma, beta, moving mean, moving variance.
    residual : bool
        Whether the input of the block is added to the output of this layer.
    """

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    residual: bool = False


@cache
def weighted_layers() -> tuple[WeightedLayer, ...]:
    """Return the 104 layers with weights of MobileNetV2 (alpha 1.0, without classifier), in order."""
    layers = [_conv("Conv1", 3, 3, 32), _norm("bn_Conv1", 32)]
    channels, block = 32, 0
    for expansion, out, repeats in _STAGES:
        for repeat in range(repeats):
            prefix, expanded = f"block_{block}" if block else "expanded_conv", expansion * channels
            if block:
                layers += [
                    _conv(f"{prefix}_expand", 1, channels, expanded),
                    _norm(f"{prefix}_expand_BN", expanded),
                ]
            layers += [
                WeightedLayer(f"{prefix}_depthwise", "depthwise_conv2d", ((3, 3, expanded, 1),)),
                _norm(f"{prefix}_depthwise_BN", expanded),
                _conv(f"{prefix}_project", 1, expanded, out),
                _norm(f"{prefix}_project_BN", out, residual=repeat > 0),
            ]
            channels, block = out, block + 1
    return (*layers, _conv("Conv_1", 1, channels, WIDTH), _norm("Conv_1_bn", WIDTH))


def random_tensors(seed: int = 0) -> Tensors:
    """Return pseudorandom weights that are identical on every machine and with every version of NumPy.

    With Keras's initial values the signal vanishes (features around 1e-11). So kernels have the variance that preserves
    it: 2 / fan-in after a ReLU, 1 / fan-in otherwise. Kernels sum to zero over their input, because otherwise a
    component common to all images would dominate. Residual branches are halved, so that ten additions stay below the
    bound of ReLU6. The last shift is 1, so that each feature is positive for some images.

    Returns
    -------
    mapping of str to tuple of ndarray
        Layer name to its float32 tensors, with the shapes of `weighted_layers`.
    """
    # NumPy guarantees the raw bits of PCG64, but not the streams of its distributions.
    bits = np.random.PCG64(seed)
    tensors: dict[str, tuple[NDArray[np.float32], ...]] = {}
    for layer in weighted_layers():
        if layer.kind == "batch_normalization":
            shape = layer.shapes[0]
            ones, zeros = np.ones(shape, np.float32), np.zeros(shape, np.float32)
            gamma = ones / np.float32(2) if layer.residual else ones
            beta = ones if layer.name == "Conv_1_bn" else zeros
            tensors[layer.name] = (gamma, beta, zeros, ones)
        else:
            tensors[layer.name] = (_random_kernel(bits, layer),)
    return tensors


def tensors_sha256(tensors: Tensors) -> str:
    """Return the SHA-256 of all tensors as little-endian float32, in the order of the network."""
    digest = hashlib.sha256()
    for layer in weighted_layers():
        for tensor in tensors[layer.name]:
            digest.update(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
    return digest.hexdigest()


def _random_kernel(bits: np.random.PCG64, layer: WeightedLayer) -> NDArray[np.float32]:
    (shape,) = layer.shapes
    depthwise = layer.kind == "depthwise_conv2d"
    fan_in = shape[0] * shape[1] * (1 if depthwise else shape[2])
    after_relu = depthwise or layer.name.endswith("_project")
    bound = math.sqrt(3 * (2 if after_relu else 1) / fan_in)
    raw = (bits.random_raw(math.prod(shape)) >> np.uint64(40)).astype(np.int64).reshape(shape)
    # Centered as integers: the sum of floats depends on the order of the additions.
    centered = raw - 2**23 if depthwise else raw * fan_in - raw.sum(axis=(0, 1, 2), keepdims=True)
    scale = 2.0**23 * (1 if depthwise else fan_in)
    return np.asarray(centered / scale * bound, dtype=np.float32)


def _conv(name: str, size: int, channels: int, out: int) -> WeightedLayer:
    return WeightedLayer(name, "conv2d", ((size, size, channels, out),))


def _norm(name: str, channels: int, residual: bool = False) -> WeightedLayer:
    return WeightedLayer(name, "batch_normalization", ((channels,),) * 4, residual)
