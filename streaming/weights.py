"""Weights as a person names them, turned into checked tensors without TensorFlow.

A word (``imagenet``, ``random``) or the location of a Keras HDF5 file. All faults of a file show
here, before seconds are spent on starting TensorFlow.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streaming.errors import ModelError
from streaming.mobilenet import (
    ARCHITECTURE,
    Tensors,
    random_tensors,
    tensors_sha256,
    weighted_layers,
)
from streaming.storage import TransientFault, normalize, storage_of

IMAGENET = "imagenet"
RANDOM = "random"
IMAGENET_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"

#: Keras fetches the file without one of its own.
IMAGENET_SHA256 = "71e4c4ec4aa24c9c951b9265d6de42e1336dcf614c2214fa6a989208615e232c"

_LARGEST = 2**24  # values of one tensor; the largest of this network has a twelfth of them
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_EXPECTED = f"give a Keras .h5 of {ARCHITECTURE} (alpha 1.0), or --weights {RANDOM}"

Group = list[tuple[str, tuple[NDArray[np.float32], ...]]]


class WeightsUnavailable(ModelError):
    """The ImageNet weights are not on this machine and cannot be fetched."""


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Checked tensors, and where they come from.

    Attributes
    ----------
    word : str
        ``imagenet``, ``random``, or the file's name.
    sha256 : str
        SHA-256 of the file, or of the tensors' bytes for ``random``.
    tensors : mapping of str to tuple of ndarray
        Layer name to its float32 tensors.
    """

    word: str
    sha256: str
    tensors: Tensors


def cached_imagenet() -> Path:
    """Where Keras keeps the ImageNet weights once it has fetched them; the file need not exist."""
    home = os.path.expanduser("~")
    fallback = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.environ.get("KERAS_HOME", fallback), "models", IMAGENET_FILE)


def read_weights(asked: str) -> Weights:
    """Read and check what ``--weights`` names.

    Parameters
    ----------
    asked : str
        ``imagenet`` (as cached by Keras), ``random``, or a path, ``file:`` or ``s3://`` URI of a
        Keras HDF5 file.

    Raises
    ------
    WeightsUnavailable
        For ``imagenet`` where Keras has not fetched it yet.
    ModelError
        Where the file is missing, cannot be read, is no HDF5, holds another network, or is named
        ``imagenet`` and is not the file that Keras publishes.
    """
    if asked == RANDOM:
        tensors = random_tensors()
        return Weights(RANDOM, tensors_sha256(tensors), tensors)
    content = _read_file(asked)
    word, name = normalize(asked).rpartition("/")[2], asked
    if asked == IMAGENET:
        word, name = IMAGENET, f"{cached_imagenet()} (Keras's cache: delete it to fetch it again)"
    sha256 = hashlib.sha256(content).hexdigest()
    if asked == IMAGENET and sha256 != IMAGENET_SHA256:
        raise ModelError(f"{name}: its SHA-256 is {sha256}, not {IMAGENET_SHA256}")
    return Weights(word, sha256, parse_weights(content, name))


def weights_sha256(asked: str) -> str | None:
    """SHA-256 that `read_weights` would give, unchecked; None for ImageNet not fetched yet."""
    if asked == RANDOM:
        return tensors_sha256(random_tensors())
    try:
        return hashlib.sha256(_read_file(asked)).hexdigest()
    except WeightsUnavailable:
        return None


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
        raise ModelError(f"{name}: is not an HDF5 file; {_EXPECTED}")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _require_self_contained(file)
            found = _keras3_group(file) if "layers" in file else _legacy_group(file)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{name}: truncated, or no weights by Keras ({reason}); {_EXPECTED}"
        ) from error
    _check(found, name)
    return {
        layer.name: tensors for layer, (_, tensors) in zip(weighted_layers(), found, strict=False)
    }


def _read_file(asked: str) -> bytes:
    uri = normalize(str(cached_imagenet()) if asked == IMAGENET else asked)
    try:
        return storage_of(uri).read(uri)
    except FileNotFoundError as error:
        if asked == IMAGENET:
            raise WeightsUnavailable(
                f"{IMAGENET}: {uri} is not there; give --weights PATH or --weights {RANDOM}"
            ) from error
        raise ModelError(f"{asked}: no such file of weights; {_EXPECTED}") from error
    except (PermissionError, TransientFault) as error:
        raise ModelError(f"{asked}: cannot be read ({error}); {_EXPECTED}") from error


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
            raise ModelError(f"{name}: of another network, it lacks {wanted}; {_EXPECTED}")
        its_name, tensors = found[position]
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes != layer.shapes:
            has = f"{its_name} {shapes[0] if shapes else ()}"
            raise ModelError(f"{name}: of another network, {has} stands for {wanted}; {_EXPECTED}")
        if not all(np.isfinite(tensor).all() for tensor in tensors):
            raise ModelError(f"{name}: {its_name} holds values that are not finite; {_EXPECTED}")


def _array(dataset: h5py.Dataset) -> NDArray[np.float32]:
    return np.asarray(dataset[()], dtype=np.float32)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
