"""Choose an inference engine on the driver, so that an invalid choice fails early, and create it in the workers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.engines import onnxruntime, openvino
from streaming.engines.onnxruntime import OnnxRuntimeEngine
from streaming.engines.openvino import OpenVinoEngine
from streaming.engines.tensorflow import TensorFlowEngine
from streaming.errors import ModelError, UsageError
from streaming.model.backends import ENGINES, Backend, supported_backends
from streaming.model.metadata import ModelInfo


class Engine(Protocol):
    """A loaded network.

    Attributes
    ----------
    name : str
        One of `streaming.model.backends.ENGINES`.
    batch : int
        Preferred number of images per call.
    """

    name: str
    batch: int

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the float32 features (n, width) of scaled images (n, size, size, 3)."""


def create_engine(
    name: str, model_info: ModelInfo, model: bytes, threads: int = 1, gpu: int | None = None
) -> Engine:
    """Load a network into an engine.

    Parameters
    ----------
    name : str
        One of `streaming.model.backends.ENGINES`.
    model_info : ModelInfo
        Metadata of the model; it determines the precision.
    model : bytes
        The file returned by `streaming.model.store.read_model` for this engine.
    threads : int
        Threads per operation.
    gpu : int, optional
        Index of the GPU to use instead of the CPU; supported by ONNX Runtime only.

    Raises
    ------
    UsageError
        For an unknown engine.
    ModelError
        If the engine cannot load the file, or is not available on this machine.
    """
    if name == OnnxRuntimeEngine.name:
        return OnnxRuntimeEngine(model_info, model, threads, gpu)
    if name == OpenVinoEngine.name:
        return OpenVinoEngine(model_info, model, threads)
    if name == TensorFlowEngine.name:
        return TensorFlowEngine(model_info, model, threads)
    raise UsageError(f"--engine {name}: choose one of {', '.join(ENGINES)}")


def choose_engine(requested: str | None, precision: str, device: str) -> str:
    """Return the engine for a precision and device; fail early if it is not available.

    Availability of a GPU is checked in the workers: the driver of a cluster may not have one.

    Parameters
    ----------
    requested : str or None
        The user's choice. None means the first match in `streaming.model.backends.TOLERANCES`.
    precision : str
        Precision of the lake.
    device : str
        One of `streaming.model.backends.DEVICES`.

    Raises
    ------
    ModelError
        If the engine does not support this precision, or is not available on this machine.
    """
    backends = supported_backends(requested, device, precision)
    if not backends:
        alternatives = " or ".join(
            f"--engine {backend.engine} --device {backend.device}"
            for backend in supported_backends(precision=precision)
        )
        options = f"--engine {requested} --device {device}" if requested else f"--device {device}"
        raise ModelError(
            f"precision {precision}: not supported by {options}; use {alternatives}, or start a new lake in another "
            "precision"
        )
    if device == "cpu" and (reason := unavailable_reason(backends[0])):
        raise ModelError(reason)
    return backends[0].engine


def unavailable_reason(backend: Backend) -> str | None:
    """Return why a backend is not available on this machine, with the remedy, or None if it is."""
    if backend.engine == OpenVinoEngine.name:
        return openvino.unavailable_reason(backend.precision)
    if backend.engine == OnnxRuntimeEngine.name:
        return onnxruntime.unavailable_reason(backend.device)
    return None
