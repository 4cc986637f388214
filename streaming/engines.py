"""What runs the network in a worker: ONNX Runtime, or TensorFlow as the reference."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.errors import ModelError, UsageError
from streaming.extractor import INPUT_NAME, OUTPUT_NAME, Extractor

ENGINES = ("onnxruntime", "tensorflow")

_SEVERITY_ERROR = 3


class Engine(Protocol):
    """A loaded network."""

    name: str

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, width) of images (n, size, size, 3), scaled by the extractor; float32."""


class OnnxRuntimeEngine:
    """ONNX Runtime on the processor.

    Its threads do not spin while they wait: a worker shares its cores with Spark's other tasks.
    """

    name = "onnxruntime"

    def __init__(self, extractor: Extractor, model: bytes, threads: int) -> None:
        """Load `model.onnx`; ModelError where ONNX Runtime cannot."""
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as faults

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _SEVERITY_ERROR
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except (
            faults.Fail,
            faults.InvalidArgument,
            faults.InvalidGraph,
            faults.InvalidProtobuf,
        ) as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{extractor.model_id}: ONNX Runtime cannot load it ({reason}); "
                "restore model.onnx, or start a new lake"
            ) from error

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, width) of images (n, size, size, 3)."""
        features: NDArray[np.float32]
        (features,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: images})
        return features


class TensorFlowEngine:
    """TensorFlow, slow to start and heavy: the reference."""

    name = "tensorflow"

    def __init__(self, extractor: Extractor, model: bytes, threads: int) -> None:
        """Load `model.weights.h5`; ModelError where it holds another network."""
        from streaming.model import tensorflow_function
        from streaming.weights import parse_weights

        self._width = extractor.width
        self._function = tensorflow_function(parse_weights(model, extractor.model_id), threads)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, width) of images (n, size, size, 3)."""
        if not len(images):  # TensorFlow's convolutions refuse an empty batch
            return np.empty((0, self._width), np.float32)
        return self._function(images)


def create_engine(name: str, extractor: Extractor, model: bytes, threads: int = 1) -> Engine:
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

    Raises
    ------
    UsageError
        For an unknown engine.
    ModelError
        Where the engine cannot load the file.
    """
    if name == OnnxRuntimeEngine.name:
        return OnnxRuntimeEngine(extractor, model, threads)
    if name == TensorFlowEngine.name:
        return TensorFlowEngine(extractor, model, threads)
    raise UsageError(f"engine {name}: unknown; use one of {', '.join(ENGINES)}")
