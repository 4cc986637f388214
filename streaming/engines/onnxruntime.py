"""Run the network with ONNX Runtime on the CPU or a GPU."""

from __future__ import annotations

import contextlib
import io
import os
import platform
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.engines import gpu as gpus
from streaming.errors import ModelError
from streaming.model.metadata import INPUT_NAME, OUTPUT_NAME, ModelInfo

#: Images per call on the CPU. The activations of larger batches exceed its caches: a batch of 16 is 2 % slower than 4,
#: and needs 250 MB instead of 115 MB.
BATCH = 4

# From version 1.32 on, importing ONNX Runtime would write an ID of the machine and send telemetry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_CUDA = "CUDAExecutionProvider"
_SEVERITY_ERROR, _SEVERITY_FATAL = 3, 4


class OnnxRuntimeEngine:
    """Run the network with ONNX Runtime.

    Waiting threads do not spin, because a worker shares its cores with other tasks. On a GPU, TF32 is disabled: its
    mantissa of ten bits would be another precision than float32.
    """

    name = "onnxruntime"

    def __init__(
        self, model_info: ModelInfo, model: bytes, threads: int, gpu: int | None = None
    ) -> None:
        """Load `model.onnx` on the CPU or on the given GPU; raise ModelError if that fails."""
        if gpu is not None and (reason := unavailable_reason("cuda")):
            raise ModelError(reason)
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _SEVERITY_ERROR
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.load_model_format", "ONNX")
        providers: list[Any] = ["CPUExecutionProvider"]
        self.batch = BATCH
        if gpu is not None:
            # Suppress its output about missing libraries; the error below is one line.
            onnxruntime.set_default_logger_severity(_SEVERITY_FATAL)
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime.preload_dlls()
            self.batch = gpus.batch_size(gpus.free_memory(gpu))
            providers = [(_CUDA, cuda_options(gpu))]
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except (
            errors.Fail,
            errors.InvalidArgument,
            errors.InvalidGraph,
            errors.InvalidProtobuf,
        ) as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{model_info.model_id}: ONNX Runtime cannot load it ({reason}); "
                "restore model.onnx, or start a new lake"
            ) from error
        if gpu is not None and _CUDA not in self._session.get_providers():
            raise ModelError(
                f"--device cuda: ONNX Runtime finds no compatible CUDA or cuDNN on {platform.node()}; "
                "pip install 'onnxruntime-gpu[cuda,cudnn]' there, or use --device cpu"
            )

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features (n, width) of images (n, size, size, 3)."""
        features: NDArray[np.float32]
        (features,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: images})
        return features


def cuda_options(gpu: int) -> dict[str, str]:
    """Return provider options for a GPU: full float32, and no algorithm search for each new batch size."""
    return {
        "device_id": str(gpu),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def unavailable_reason(device: str) -> str | None:
    """Return why ONNX Runtime cannot use a device on this machine, with the remedy, or None if it can."""
    if device != "cuda":
        return None
    # Spark uses the order of nvidia-smi; by default, CUDA sorts the fastest GPU first.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    import onnxruntime

    if _CUDA not in onnxruntime.get_available_providers():
        return (
            f"--device cuda: ONNX Runtime on {platform.node()} has no CUDA support; "
            "install onnxruntime-gpu there instead of onnxruntime, or use --device cpu"
        )
    if not gpus.device_count():
        return f"--device cuda: no GPU on {platform.node()}: use --device cpu"
    return None
