"""Download weights, and build, convert and run the network with Keras. The only module that imports TensorFlow.

Importing this module is cheap: TensorFlow is imported inside the functions, and its log output is suppressed.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.model.metadata import INPUT_NAME, OUTPUT_NAME
from streaming.model.mobilenet_v2 import INPUT_SIZE, Tensors
from streaming.model.weights import (
    IMAGENET,
    IMAGENET_SHA256,
    RANDOM,
    WeightsUnavailable,
    cached_imagenet,
)

OPSET = 17

_SHAPE = (INPUT_SIZE, INPUT_SIZE, 3)
_DOWNLOAD_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
_DOWNLOAD_TIMEOUT = 20  # seconds without data, not in total

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """The network in two formats, and the versions of the packages that wrote them.

    Attributes
    ----------
    onnx : bytes
        ONNX: float32 images of shape (n, 224, 224, 3) to float32 features of shape (n, 1280), for any n.
    keras : bytes
        Keras 3's ``.weights.h5``.
    versions : dict of str to str
        Versions of tensorflow, keras, tf2onnx and onnx, and the ONNX opset.
    """

    onnx: bytes
    keras: bytes
    versions: dict[str, str]


def fetch_imagenet() -> None:
    """Download the ImageNet weights to Keras's cache.

    Raises
    ------
    WeightsUnavailable
        If the download fails, or its SHA-256 is not the expected one.
    """
    _, keras = _tensorflow()
    url = _DOWNLOAD_URL + cached_imagenet().name
    with _DownloadErrors():
        # As in keras.applications, which uses no SHA-256.
        keras.utils.get_file(origin=url, file_hash=IMAGENET_SHA256, cache_subdir="models")


def convert(tensors: Tensors) -> ConvertedModel:
    """Convert MobileNetV2, up to its global average pooling layer, to ONNX and Keras weights. Takes about 8 s.

    Batch normalizations become multiplications and additions, which the engine folds into the convolutions when it
    loads the network.

    Parameters
    ----------
    tensors : mapping of str to tuple of ndarray
        Layer name to its validated tensors.
    """
    tf, keras = _tensorflow()
    import onnx
    import tf2onnx

    network = _build(tensors)
    signature = tf.TensorSpec((None, *_SHAPE), tf.float32, name=INPUT_NAME)
    proto, _ = tf2onnx.convert.from_function(
        tf.function(lambda images: {OUTPUT_NAME: network(images, training=False)}),
        input_signature=[signature],
        opset=OPSET,
    )
    packages = {"tensorflow": tf, "keras": keras, "tf2onnx": tf2onnx, "onnx": onnx}
    versions = {name: str(package.__version__) for name, package in packages.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.weights.h5")
        network.save_weights(file)
        return ConvertedModel(
            proto.SerializeToString(), file.read_bytes(), versions | {"opset": str(OPSET)}
        )


def tensorflow_function(
    tensors: Tensors, threads: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Build the network and compile it with TensorFlow: the reference for the other engines.

    Parameters
    ----------
    tensors : mapping of str to tuple of ndarray
        Layer name to its validated tensors.
    threads : int
        Threads per operation; ignored if TensorFlow has already run in this process.

    Returns
    -------
    callable
        From float32 images (n, 224, 224, 3) to float32 features (n, 1280).
    """
    tf, _ = _tensorflow()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        _log.debug("TensorFlow is already initialized: its number of threads is unchanged")
    network = _build(tensors)
    compiled = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec((None, *_SHAPE), tf.float32)],
    )

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(compiled(images), dtype=np.float32)

    return run


def _build(tensors: Tensors) -> Any:
    """Build the Keras network and set its weights."""
    _, keras = _tensorflow()
    network = keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=_SHAPE
    )
    for name, values in tensors.items():
        network.get_layer(name).set_weights(list(values))
    return network


def _tensorflow() -> tuple[Any, Any]:
    """Import TensorFlow and Keras, and set the Keras settings that the export requires."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with _quiet_stderr():
        import keras
        import tensorflow as tf
    keras.config.disable_interactive_logging()
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    return tf, keras


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Discard stderr while TensorFlow is imported: its libraries write to it before any log setting takes effect."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


class _DownloadErrors:
    """Set a socket timeout, and convert a failed download or a wrong SHA-256 to `WeightsUnavailable`.

    Keras wraps network errors in a bare `Exception`, so they are recognized by their cause. Other errors propagate.
    """

    def __enter__(self) -> None:
        self._before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        socket.setdefaulttimeout(self._before)
        cause = error if isinstance(error, OSError | ValueError) else error and error.__context__
        if isinstance(cause, OSError | ValueError):  # ValueError: wrong SHA-256
            reason = " ".join(str(getattr(cause, "reason", None) or cause).split())
            raise WeightsUnavailable(
                f"{IMAGENET}: Keras cannot download the weights ({reason}); use --weights PATH, "
                f"put the file at {cached_imagenet()}, or use --weights {RANDOM}"
            ) from error
