"""Read the tensors of MobileNetV2 from a Keras HDF5 file with h5py alone; no code in the file is executed."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streaming.errors import ModelError
from streaming.model.mobilenet_v2 import ARCHITECTURE, Tensors, weighted_layers

#: What a message asks for in place of a file that cannot be used.
EXPECTED = f"give a Keras .h5 of {ARCHITECTURE} (alpha 1.0), or take random ones"

_LARGEST = 2**24  # values of one tensor; the largest of this network has a twelfth of them
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

Group = list[tuple[str, tuple[NDArray[np.float32], ...]]]


def parse_weights(content: bytes, name: str) -> Tensors:
    """Take MobileNetV2's tensors out of a Keras HDF5 file.

    Layers are matched by their order, as Keras does it, and each tensor's shape is checked. A
    classifier on top is passed over.

    Parameters
    ----------
    content : bytes
        Legacy weights, a whole model saved as ``.h5``, or Keras 3's ``.weights.h5``.
    name : str
        The file's name, for the message of an error.

    Raises
    ------
    ModelError
        In one line that names the file: not HDF5, truncated, another network, values that are not
        finite, or a file that leads to others.
    """
    if not content.startswith(_HDF5_SIGNATURE):
        raise ModelError(f"{name}: is not an HDF5 file; {EXPECTED}")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _require_self_contained(file)
            found = _keras3_group(file) if "layers" in file else _legacy_group(file)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{name}: truncated, or not a Keras weights file ({reason}); {EXPECTED}"
        ) from error
    _check(found, name)
    return {
        layer.name: tensors for layer, (_, tensors) in zip(weighted_layers(), found, strict=False)
    }


def _require_self_contained(file: h5py.File) -> None:
    """Refuse what makes HDF5 open other files of this machine, or claims more than a network of this kind has.

    Arrays are all that is read; Keras itself, which could run code out of a model's file, never sees it.
    """

    def wrong(name: str, link: Any) -> str | None:
        if not isinstance(link, h5py.HardLink):
            return f"{name!r} is a link to elsewhere"
        found = file[name]
        if isinstance(found, h5py.Dataset):
            if found.external or found.is_virtual:
                return f"{name!r} lies in another file"
            if found.size is not None and found.size > _LARGEST:
                return f"{name!r} claims {found.size} values"
        return None

    complaint = file.visititems_links(wrong)
    if complaint:
        raise ValueError(complaint)


def _legacy_group(file: h5py.File) -> Group:
    """Layers of the legacy layout, in the file's order; a whole model keeps them one level down."""
    root = file.get("model_weights", file)
    found: Group = []
    for name in map(_text, root.attrs["layer_names"]):
        group = root[name]
        tensors = tuple(_array(group[_text(weight)]) for weight in group.attrs["weight_names"])
        if tensors:
            found.append((name, tensors))
    return found


def _keras3_group(file: h5py.File) -> Group:
    """Layers of Keras 3's layout, which numbers them by class: conv2d, conv2d_1, and so on."""
    seen: Counter[str] = Counter()
    found: Group = []
    for layer in weighted_layers():
        name = f"{layer.kind}_{seen[layer.kind]}" if seen[layer.kind] else layer.kind
        seen[layer.kind] += 1
        if name in file["layers"]:
            tensors = file["layers"][name]["vars"]
            found.append((name, tuple(_array(tensors[str(i)]) for i in range(len(tensors)))))
    return found


def _check(found: Group, name: str) -> None:
    for position, layer in enumerate(weighted_layers()):
        wanted = f"{layer.name} {layer.shapes[0]}"
        if position >= len(found):
            raise ModelError(f"{name}: weights of another network: missing {wanted}; {EXPECTED}")
        its_name, tensors = found[position]
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes != layer.shapes:
            has = f"{its_name} {shapes[0] if shapes else ()}"
            raise ModelError(f"{name}: of another network, {has} stands for {wanted}; {EXPECTED}")
        if not all(np.isfinite(tensor).all() for tensor in tensors):
            raise ModelError(f"{name}: {its_name} contains values that are not finite; {EXPECTED}")


def _array(dataset: h5py.Dataset) -> NDArray[np.float32]:
    return np.asarray(dataset[()], dtype=np.float32)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
