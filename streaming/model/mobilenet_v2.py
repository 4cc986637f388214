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
# Written here: Keras itself names the layer otherwise in the second network of a process.
LAYER = "global_average_pooling2d"

Tensors = Mapping[str, tuple[NDArray[np.float32], ...]]

# Expansion, channels and repeats of each stage: table 2 of the MobileNetV2 paper (arXiv
# 1801.04381).
_STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


@dataclass(frozen=True, slots=True)
class WeightedLayer:
    """One layer that holds weights.

    Attributes
    ----------
    name : str
        The layer's name in Keras.
    kind : str
        Its class in Keras, in snake case, as the `.weights.h5` layout names its groups.
    shapes : tuple of tuple of int
        Shape of each tensor, in the order of Keras: a kernel, or gamma, beta, moving mean, moving
        variance.
    residual : bool
        Whether its output is added to what its block was given.
    """

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    residual: bool = False


@cache
def weighted_layers() -> tuple[WeightedLayer, ...]:
    """The 104 layers with weights of MobileNetV2 (alpha 1.0, no classifier), in their order."""
    layers = [_conv("Conv1", 3, 3, 32), _norm("bn_Conv1", 32)]
    channels, block = 32, 0
    for expansion, out, repeats in _STAGES:
        for repeat in range(repeats):
            prefix, inside = f"block_{block}" if block else "expanded_conv", expansion * channels
            if block:
                layers += [
                    _conv(f"{prefix}_expand", 1, channels, inside),
                    _norm(f"{prefix}_expand_BN", inside),
                ]
            layers += [
                WeightedLayer(f"{prefix}_depthwise", "depthwise_conv2d", ((3, 3, inside, 1),)),
                _norm(f"{prefix}_depthwise_BN", inside),
                _conv(f"{prefix}_project", 1, inside, out),
                _norm(f"{prefix}_project_BN", out, residual=repeat > 0),
            ]
            channels, block = out, block + 1
    return (*layers, _conv("Conv_1", 1, channels, WIDTH), _norm("Conv_1_bn", WIDTH))


def random_tensors(seed: int = 0) -> Tensors:
    """Fill the network with seeded numbers, the same on every machine and version of NumPy.

    Keras's own initial values let the signal die (features around 1e-11). Here each kernel has the
    variance that keeps it alive, 2 / fan-in where its input went through a ReLU and 1 / fan-in
    where not, and sums to zero over what it mixes, or what all images share would drown what tells
    them apart. What is added to a residual is halved, so that ten additions do not add up to
    ReLU6's bound, and the last shift keeps each feature above zero for some image.

    Parameters
    ----------
    seed : int
        Another seed gives another network.

    Returns
    -------
    mapping of str to tuple of ndarray
        Layer name to its float32 tensors, as `weighted_layers` lists them.
    """
    # Raw bits of PCG64 are promised to stay as they are; NumPy's normal and uniform streams are
    # not.
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
    """SHA-256 over the bytes of all tensors, little-endian float32, in the network's order."""
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
    # Centred in integers: a sum of floats depends on the order in which a machine adds.
    centred = raw - 2**23 if depthwise else raw * fan_in - raw.sum(axis=(0, 1, 2), keepdims=True)
    scale = 2.0**23 * (1 if depthwise else fan_in)
    return np.asarray(centred / scale * bound, dtype=np.float32)


def _conv(name: str, size: int, channels: int, out: int) -> WeightedLayer:
    return WeightedLayer(name, "conv2d", ((size, size, channels, out),))


def _norm(name: str, channels: int, residual: bool = False) -> WeightedLayer:
    return WeightedLayer(name, "batch_normalization", ((channels,),) * 4, residual)
