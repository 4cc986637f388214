"""Resolve a weights argument (name, path or URI) to validated tensors, without TensorFlow."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from streaming.errors import ModelError
from streaming.model.hdf5 import EXPECTED, parse_weights
from streaming.model.mobilenet_v2 import Tensors, random_tensors, tensors_sha256
from streaming.storage.interface import TransientError, normalize
from streaming.storage.open import open_storage

__all__ = ["Weights", "WeightsUnavailable", "parse_weights", "read_weights", "weights_sha256"]

IMAGENET = "imagenet"
RANDOM = "random"
IMAGENET_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"

#: Keras fetches the file without one of its own.
IMAGENET_SHA256 = "71e4c4ec4aa24c9c951b9265d6de42e1336dcf614c2214fa6a989208615e232c"


class WeightsUnavailable(ModelError):
    """The ImageNet weights are not on this machine and cannot be fetched."""


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Checked tensors, and where they come from.

    Attributes
    ----------
    name : str
        ``imagenet``, ``random``, or the file's name.
    sha256 : str
        SHA-256 of the file, or of the tensors' bytes for ``random``.
    tensors : mapping of str to tuple of ndarray
        Layer name to its float32 tensors.
    """

    name: str
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


def _read_file(asked: str) -> bytes:
    uri = normalize(str(cached_imagenet()) if asked == IMAGENET else asked)
    try:
        return open_storage(uri).read(uri)
    except FileNotFoundError as error:
        if asked == IMAGENET:
            raise WeightsUnavailable(
                f"{IMAGENET}: {uri} is not there; give --weights PATH or --weights {RANDOM}"
            ) from error
        raise ModelError(f"{asked}: weights file not found; {EXPECTED}") from error
    except (PermissionError, TransientError) as error:
        raise ModelError(f"{asked}: cannot be read ({error}); {EXPECTED}") from error
