"""Resolve a weights argument (name, path or URI) to validated tensors, without TensorFlow."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from streaming.errors import ModelError
from streaming.model.hdf5 import EXPECTED, parse_weights
from streaming.model.mobilenet_v2 import Tensors, random_tensors, tensors_sha256
from streaming.storage.interface import NotRegularFileError, TransientError, normalize
from streaming.storage.open import open_storage

__all__ = ["Weights", "WeightsUnavailable", "parse_weights", "read_weights", "weights_sha256"]

IMAGENET = "imagenet"
RANDOM = "random"
IMAGENET_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"

#: Keras itself does not verify this file by SHA-256.
IMAGENET_SHA256 = "71e4c4ec4aa24c9c951b9265d6de42e1336dcf614c2214fa6a989208615e232c"


class WeightsUnavailable(ModelError):
    """The ImageNet weights are not cached on this machine and cannot be downloaded."""


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Validated tensors and their origin.

    Attributes
    ----------
    name : str
        ``imagenet``, ``random``, or the file name.
    sha256 : str
        SHA-256 of the file, or of the tensors' bytes for ``random``.
    tensors : mapping of str to tuple of ndarray
        Layer name to its float32 tensors.
    """

    name: str
    sha256: str
    tensors: Tensors


def cached_imagenet() -> Path:
    """Return the path of the ImageNet weights in Keras's cache; the file need not exist."""
    home = os.path.expanduser("~")
    fallback = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.environ.get("KERAS_HOME", fallback), "models", IMAGENET_FILE)


def read_weights(source: str) -> Weights:
    """Read and validate weights.

    Parameters
    ----------
    source : str
        Value of `--weights`: ``imagenet`` (from Keras's cache), ``random``, or the path, ``file:`` or ``s3://`` URI
        of a Keras HDF5 file.

    Raises
    ------
    WeightsUnavailable
        If ``imagenet`` is not in Keras's cache.
    ModelError
        If the file is missing, cannot be read, is not HDF5 or belongs to another network, or if the cached file for
        ``imagenet`` is not the published one.
    """
    if source == RANDOM:
        tensors = random_tensors()
        return Weights(RANDOM, tensors_sha256(tensors), tensors)
    content = _read_file(source)
    sha256 = hashlib.sha256(content).hexdigest()
    if source == IMAGENET:
        name = IMAGENET
        location = f"{cached_imagenet()} (Keras's cache: delete it to download it again)"
        if sha256 != IMAGENET_SHA256:
            raise ModelError(f"{location}: its SHA-256 is {sha256}, not {IMAGENET_SHA256}")
    else:
        name = normalize(source).rpartition("/")[2]
        location = source
    return Weights(name, sha256, parse_weights(content, location))


def weights_sha256(source: str) -> str | None:
    """Return the SHA-256 of `read_weights` without validation; None if ImageNet weights are not cached."""
    if source == RANDOM:
        return tensors_sha256(random_tensors())
    try:
        return hashlib.sha256(_read_file(source)).hexdigest()
    except WeightsUnavailable:
        return None


def _read_file(source: str) -> bytes:
    uri = normalize(str(cached_imagenet()) if source == IMAGENET else source)
    try:
        return open_storage(uri).read(uri, None)
    except NotRegularFileError as error:
        raise ModelError(f"{source}: cannot be read ({error}); {EXPECTED}") from error
    except FileNotFoundError as error:
        if source == IMAGENET:
            raise WeightsUnavailable(
                f"{IMAGENET}: {uri} does not exist; use --weights PATH or --weights {RANDOM}"
            ) from error
        raise ModelError(f"{source}: weights file not found; {EXPECTED}") from error
    except (PermissionError, TransientError) as error:
        raise ModelError(f"{source}: cannot be read ({error}); {EXPECTED}") from error
