"""Fetch weights, build, convert and run the network with Keras; the only module that imports TensorFlow.

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
_WHERE = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
_FETCH_SECONDS = 20  # of silence on the line, not in all

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A network in two formats, and the versions of the programs that wrote them.

    Attributes
    ----------
    onnx : bytes
        ONNX: images (n, 224, 224, 3) to features (n, 1280), both float32, for any n.
    keras : bytes
        Keras 3's ``.weights.h5``.
    versions : dict of str to str
        Of tensorflow, keras, tf2onnx and onnx, and the ONNX opset.
    """

    onnx: bytes
    keras: bytes
    versions: dict[str, str]


def fetch_imagenet() -> None:
    """Let Keras fetch the ImageNet weights into its cache.

    Raises
    ------
    WeightsUnavailable
        Where the network does not give them, or gives something else.
    """
    _, keras = _tensorflow()
    address = _WHERE + cached_imagenet().name
    with _Fetching():  # as keras.applications does it, but for the hash
        keras.utils.get_file(origin=address, file_hash=IMAGENET_SHA256, cache_subdir="models")


def convert(tensors: Tensors) -> ConvertedModel:
    """Write MobileNetV2, up to its global average pool, as ONNX and as Keras weights; about 8 s.

    Batch norms become multiplications and additions, which the engine folds into the convolutions
    as it loads.

    Parameters
    ----------
    tensors : mapping of str to tuple of ndarray
        Layer name to its tensors, checked.
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
    programs = {"tensorflow": tf, "keras": keras, "tf2onnx": tf2onnx, "onnx": onnx}
    versions = {name: str(program.__version__) for name, program in programs.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.weights.h5")
        network.save_weights(file)
        return ConvertedModel(
            proto.SerializeToString(), file.read_bytes(), versions | {"opset": str(OPSET)}
        )


def tensorflow_function(
    tensors: Tensors, threads: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Build the network and let TensorFlow run it: the reference for the other engines.

    Parameters
    ----------
    tensors : mapping of str to tuple of ndarray
        Layer name to its tensors, checked.
    threads : int
        Threads of one operation; heeded only where TensorFlow has not run in this process before.

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
        _log.debug("TensorFlow runs already: its number of threads stays as it is")
    network = _build(tensors)
    compiled = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec((None, *_SHAPE), tf.float32)],
    )

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(compiled(images), dtype=np.float32)

    return run


def _build(tensors: Tensors) -> Any:
    """The Keras network with these tensors in it."""
    _, keras = _tensorflow()
    network = keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=_SHAPE
    )
    for name, values in tensors.items():
        network.get_layer(name).set_weights(list(values))
    return network


def _tensorflow() -> tuple[Any, Any]:
    """TensorFlow and Keras, imported with Keras's own settings pinned to what the export needs."""
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
    """Send stderr nowhere: TensorFlow's libraries write to it before any setting counts."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class _Fetching:
    """While Keras fetches: no endless wait, and a fault of the network, or another file, said in one line.

    Keras wraps such a fault in a bare `Exception`, so it is told by its cause; all else passes.
    """

    def __enter__(self) -> None:
        self._before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_FETCH_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        socket.setdefaulttimeout(self._before)
        cause = error if isinstance(error, OSError | ValueError) else error and error.__context__
        if isinstance(cause, OSError | ValueError):  # the latter: another hash
            reason = " ".join(str(getattr(cause, "reason", None) or cause).split())
            raise WeightsUnavailable(
                f"{IMAGENET}: Keras cannot fetch the weights ({reason}); give --weights PATH, "
                f"put the file at {cached_imagenet()}, or give --weights {RANDOM}"
            ) from error
