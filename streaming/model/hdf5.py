"""Read the tensors of MobileNetV2 from a Keras HDF5 file with h5py alone; no code in the file is executed."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streaming.counts import format_count
from streaming.errors import ModelError
from streaming.model.mobilenet_v2 import ARCHITECTURE, Tensors, weighted_layers

#: The remedy in messages about a weights file that cannot be used.
EXPECTED = f"give a Keras .h5 file of {ARCHITECTURE} (alpha 1.0), or use random weights"

# Maximum number of values of one tensor; the largest tensor of this network has a twelfth of it.
_MAX_TENSOR_SIZE = 2**24
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Names and tensors of layers, in the order of the network.
Layers = list[tuple[str, tuple[NDArray[np.float32], ...]]]


def parse_weights(content: bytes, name: str) -> Tensors:
    """Read the tensors of MobileNetV2 from a Keras HDF5 file.

    Layers are matched by order, as in Keras, and the shape of each tensor is checked. The layers of a classifier are
    ignored.

    Parameters
    ----------
    content : bytes
        Legacy weights, a whole model saved as ``.h5``, or Keras 3's ``.weights.h5``.
    name : str
        Name of the file in error messages.

    Raises
    ------
    ModelError
        If the file is not HDF5, is truncated, belongs to another network, contains values that are not finite, or
        links to other files. The message is one line and names the file.
    """
    if not content.startswith(_HDF5_SIGNATURE):
        raise ModelError(f"{name}: is not an HDF5 file; {EXPECTED}")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _check_self_contained(file)
            layers = _keras3_layers(file) if "layers" in file else _legacy_layers(file)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{name}: truncated, or not a Keras weights file ({reason}); {EXPECTED}"
        ) from error
    _check_layers(layers, name)
    return {
        layer.name: tensors for layer, (_, tensors) in zip(weighted_layers(), layers, strict=False)
    }


def _check_self_contained(file: h5py.File) -> None:
    """Raise ValueError if reading the file would open other files, or allocate more than this network needs.

    Only arrays are read. Keras itself, which can execute code from a model file, is never given the file.
    """

    def find_problem(name: str, link: Any) -> str | None:
        """Return why an object must not be read; None if it may."""
        if not isinstance(link, h5py.HardLink):
            return f"{name!r} is a link to another object"
        found = file[name]
        if isinstance(found, h5py.Dataset):
            if found.external or found.is_virtual:
                return f"{name!r} is stored in another file"
            if found.size is not None and found.size > _MAX_TENSOR_SIZE:
                return f"{name!r} declares {format_count(found.size, 'value')}"
        return None

    problem = file.visititems_links(find_problem)
    if problem:
        raise ValueError(problem)


def _legacy_layers(file: h5py.File) -> Layers:
    """Read the legacy layout, in the order of the file; a whole model is stored one level deeper."""
    root = file.get("model_weights", file)
    layers: Layers = []
    for name in map(_text, root.attrs["layer_names"]):
        group = root[name]
        tensors = tuple(_array(group[_text(weight)]) for weight in group.attrs["weight_names"])
        if tensors:
            layers.append((name, tensors))
    return layers


def _keras3_layers(file: h5py.File) -> Layers:
    """Read the layout of Keras 3, which numbers the layers of each class: conv2d, conv2d_1, and so on."""
    counts: Counter[str] = Counter()
    layers: Layers = []
    for layer in weighted_layers():
        name = f"{layer.kind}_{counts[layer.kind]}" if counts[layer.kind] else layer.kind
        counts[layer.kind] += 1
        if name in file["layers"]:
            tensors = file["layers"][name]["vars"]
            layers.append((name, tuple(_array(tensors[str(i)]) for i in range(len(tensors)))))
    return layers


def _check_layers(layers: Layers, name: str) -> None:
    """Raise ModelError unless the layers have the shapes of MobileNetV2, and only finite values."""
    for position, layer in enumerate(weighted_layers()):
        expected = f"{layer.name} {layer.shapes[0]}"
        if position >= len(layers):
            raise ModelError(
                f"{name}: weights of another network: {expected} is missing; {EXPECTED}"
            )
        found_name, tensors = layers[position]
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes != layer.shapes:
            found = f"{found_name} {shapes[0] if shapes else ()}"
            raise ModelError(
                f"{name}: weights of another network: {found} instead of {expected}; {EXPECTED}"
            )
        if not all(np.isfinite(tensor).all() for tensor in tensors):
            raise ModelError(
                f"{name}: {found_name} contains values that are not finite; {EXPECTED}"
            )


def _array(dataset: h5py.Dataset) -> NDArray[np.float32]:
    return np.asarray(dataset[()], dtype=np.float32)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
