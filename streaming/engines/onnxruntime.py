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

#: Images a call on the processor. The activations of more leave its caches: 16 are 2 % slower than 4, and take
#: 250 MB instead of 115.
BATCH = 4

# From 1.32 on, importing it would note down the machine, and report to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_CUDA = "CUDAExecutionProvider"
_SEVERITY_ERROR, _SEVERITY_FATAL = 3, 4


class OnnxRuntimeEngine:
    """ONNX Runtime; its threads do not spin while they wait, since a worker shares its cores with other tasks.

    On a GPU, TF32 is off: its ten bits of mantissa would be another precision.
    """

    name = "onnxruntime"

    def __init__(
        self, extractor: ModelInfo, model: bytes, threads: int, gpu: int | None = None
    ) -> None:
        """Load `model.onnx`, onto a GPU where one is given; ModelError where that does not work."""
        if gpu is not None and (why := unavailable_reason("cuda")):
            raise ModelError(why)
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as faults

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _SEVERITY_ERROR
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = ["CPUExecutionProvider"]
        self.batch = BATCH
        if gpu is not None:
            # What it would say of libraries that are missing is said below, in one line.
            onnxruntime.set_default_logger_severity(_SEVERITY_FATAL)
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime.preload_dlls()
            self.batch = gpus.batch_size(gpus.free_memory(gpu))
            providers = [(_CUDA, cuda_options(gpu))]
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
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
        if gpu is not None and _CUDA not in self._session.get_providers():
            raise ModelError(
                f"device cuda: ONNX Runtime finds no CUDA or cuDNN that fits it on {platform.node()}; "
                "pip install 'onnxruntime-gpu[cuda,cudnn]' there, or use --device cpu"
            )

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, width) of images (n, size, size, 3)."""
        features: NDArray[np.float32]
        (features,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: images})
        return features


def cuda_options(gpu: int) -> dict[str, str]:
    """Options of ONNX Runtime for a GPU: arithmetic in full float32, and no search for each new number of images."""
    return {
        "device_id": str(gpu),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def unavailable_reason(device: str) -> str | None:
    """Why ONNX Runtime cannot run on a device of this machine, with the remedy; None where it can."""
    if device != "cuda":
        return None
    # The numbers that Spark hands out are those of nvidia-smi; CUDA would count the fastest first.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    import onnxruntime

    if _CUDA not in onnxruntime.get_available_providers():
        return (
            f"device cuda: the ONNX Runtime on {platform.node()} is one without CUDA; "
            "install onnxruntime-gpu there in the place of onnxruntime, or use --device cpu"
        )
    if not gpus.device_count():
        return f"device cuda: no GPU on {platform.node()}; use --device cpu"
    return None
