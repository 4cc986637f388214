"""Choose an inference engine on the driver, where a wrong choice fails early, and create it in the worker."""

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
        Images that are best handed to it at once.
    """

    name: str
    batch: int

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, width) of images (n, size, size, 3), scaled by the extractor; float32."""


def create_engine(
    name: str, extractor: ModelInfo, model: bytes, threads: int = 1, gpu: int | None = None
) -> Engine:
    """Load a network into an engine.

    Parameters
    ----------
    name : str
        One of `streaming.model.backends.ENGINES`.
    extractor : ModelInfo
        The description of the model; its precision is the one that is used.
    model : bytes
        The file that `streaming.model.store.read_model` gives for this engine.
    threads : int
        Threads of one operation.
    gpu : int, optional
        Number of the GPU to run on, instead of the processor; ONNX Runtime only.

    Raises
    ------
    UsageError
        For an unknown engine.
    ModelError
        Where the engine cannot load the file, or this machine cannot run it.
    """
    if name == OnnxRuntimeEngine.name:
        return OnnxRuntimeEngine(extractor, model, threads, gpu)
    if name == OpenVinoEngine.name:
        return OpenVinoEngine(extractor, model, threads)
    if name == TensorFlowEngine.name:
        return TensorFlowEngine(extractor, model, threads)
    raise UsageError(f"engine {name}: unknown; use one of {', '.join(ENGINES)}")


def choose_engine(asked: str | None, precision: str, device: str) -> str:
    """The engine for a precision, and whether it will run; called before anything is written or started.

    A GPU is left to the workers to find: the driver of a cluster need not have one.

    Parameters
    ----------
    asked : str or None
        The user's choice; None: the first that fits in `streaming.model.backends.TOLERANCES`.
    precision : str
        The lake's.
    device : str
        One of `streaming.model.backends.DEVICES`.

    Raises
    ------
    ModelError
        Where no such engine has this precision, or this machine cannot run it.
    """
    fitting = supported_backends(asked, device, precision)
    if not fitting:
        able = " or ".join(
            f"--engine {w.engine} --device {w.device}"
            for w in supported_backends(None, None, precision)
        )
        words = f"--engine {asked} --device {device}" if asked else f"--device {device}"
        raise ModelError(
            f"precision {precision}: {words} does not have it; use {able}, or start a new lake in another precision"
        )
    if device == "cpu" and (why := unavailable_reason(fitting[0])):
        raise ModelError(why)
    return fitting[0].engine


def unavailable_reason(way: Backend) -> str | None:
    """Why this machine cannot run the network in a way, with the remedy; None where it can."""
    if way.engine == OpenVinoEngine.name:
        return openvino.unavailable_reason(way.precision)
    if way.engine == OnnxRuntimeEngine.name:
        return onnxruntime.unavailable_reason(way.device)
    return None
