"""What runs the network in a worker: ONNX Runtime, or TensorFlow as the reference."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.engine_onnxruntime import OnnxRuntimeEngine
from streaming.engine_tensorflow import TensorFlowEngine
from streaming.errors import UsageError
from streaming.extractor import Extractor

ENGINES = ("onnxruntime", "tensorflow")


class Engine(Protocol):
    """A loaded network.

    Attributes
    ----------
    name : str
        One of `ENGINES`.
    batch : int
        Images that are best handed to it at once.
    """

    name: str
    batch: int

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, width) of images (n, size, size, 3), scaled by the extractor; float32."""


def create_engine(
    name: str, extractor: Extractor, model: bytes, threads: int = 1, gpu: int | None = None
) -> Engine:
    """Load a network into an engine.

    Parameters
    ----------
    name : str
        One of `ENGINES`.
    extractor : Extractor
        The description of the model.
    model : bytes
        The file that `streaming.model_store.read_model` gives for this engine.
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
    if name == TensorFlowEngine.name:
        return TensorFlowEngine(extractor, model, threads)
    raise UsageError(f"engine {name}: unknown; use one of {', '.join(ENGINES)}")
