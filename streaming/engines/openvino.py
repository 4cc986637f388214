"""Run the network with OpenVINO on the CPU, in float32, bfloat16 or int8."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.errors import ModelError
from streaming.model.metadata import ModelInfo

#: OpenVINO's names of the precisions. A quantized network contains its integers; everything else in it is float32.
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
# Flags of Linux for instructions that multiply int8 and add in int32. Older processors add in int16, which overflows:
# the features have a cosine of 0.96 to those of these processors.
_INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}
# With bfloat16, so many convolutions at the start remain in float32: they would cause 90 % of the error
# (docs/decisions/0025-bfloat16-opt-in.md).
_FLOAT32_CONVOLUTIONS = 24


class OpenVinoEngine:
    """Run the network with OpenVINO.

    The network is compiled for one image per call, which is 5 % faster than a dynamic batch size and needs less memory.
    The precision is set explicitly: by default OpenVINO uses bfloat16 if the CPU supports it, and it silently falls
    back to float32 if bfloat16 is requested and not supported.
    """

    name = "openvino"
    batch = 4

    def __init__(self, model_info: ModelInfo, model: bytes, threads: int) -> None:
        """Compile `model.onnx`; raise ModelError if the package, the CPU or the file prevents it."""
        if reason := unavailable_reason(model_info.precision):
            raise ModelError(reason)
        self._width = model_info.width
        core = _openvino().Core()
        try:
            network = core.read_model(model)
            network.reshape([1, model_info.input_size, model_info.input_size, 3])
            parts = [(network, model_info.precision)]
            if model_info.precision == "bfloat16":
                head, tail = _split_network(network, _FLOAT32_CONVOLUTIONS)
                parts = [(head, "float32"), (tail, "bfloat16")]
            compiled = [
                core.compile_model(part, "CPU", settings(precision, threads))
                for part, precision in parts
            ]
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{model_info.model_id}: OpenVINO cannot load it ({reason}); "
                "restore model.onnx, or start a new lake"
            ) from error
        chosen = compiled[-1].get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if chosen != _HINTS[model_info.precision]:
            raise ModelError(_unsupported_bfloat16(chosen))
        self._requests = [part.create_infer_request() for part in compiled]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features (n, width) of images (n, size, size, 3)."""
        features = np.empty((len(images), self._width), np.float32)
        for index in range(len(images)):
            values = images[index : index + 1]
            for request in self._requests:
                values = request.infer(values, share_inputs=True, share_outputs=True)[0]
            features[index] = values[0]
        return features


def _split_network(network: Any, convolutions: int) -> tuple[Any, Any]:
    """Split a network into two consecutive ones; the first contains so many convolutions."""
    openvino = _openvino()
    nodes = [node for node in network.get_ordered_ops() if "Convolution" in node.get_type_name()]
    output = nodes[convolutions].input_value(0)
    parameter = openvino.opset13.parameter(output.shape, output.element_type)
    for consumer in output.get_target_inputs():
        consumer.replace_source_output(parameter.output(0))
    results = [result.input_value(0) for result in network.get_results()]
    head = openvino.Model([output], network.get_parameters())
    return head, openvino.Model(results, [parameter])


def settings(precision: str, threads: int) -> dict[str, object]:
    """Return the OpenVINO settings for a precision and a number of threads per operation."""
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # With pinning, all workers of a machine would use the same first cores.
        "ENABLE_CPU_PINNING": False,
    }


def unavailable_reason(precision: str) -> str | None:
    """Return why OpenVINO cannot use a precision on this machine, with the remedy, or None if it can."""
    if importlib.util.find_spec("openvino") is None:
        return (
            f"engine openvino: the package is not installed on {platform.node()}; "
            "pip install 'pomona[openvino]' there" + _alternative_engine(precision)
        )
    if precision == "bfloat16" and not has_bfloat16():
        return _unsupported_bfloat16("f32")
    if precision == "int8" and not has_int8():
        return (
            f"precision int8: {platform.node()} does not run Linux on a CPU with AVX512_VNNI, AVX_VNNI or AMX, and "
            "other CPUs compute less exact features; use such a machine, or start a new lake with --precision float32"
        )
    return None


def has_bfloat16() -> bool:
    """Return whether OpenVINO supports bfloat16 on this CPU."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def has_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this CPU has instructions for int8; False if it cannot be determined, as outside of Linux.

    OpenVINO lists INT8 among the capabilities of every CPU.
    """
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and not _INT8_FLAGS.isdisjoint(flags[1].split())


def _openvino() -> Any:
    """Import OpenVINO with its telemetry disabled; it would send a report at each import."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # treated as not installed
    import openvino

    return openvino


def _unsupported_bfloat16(chosen: str) -> str:
    return (
        f"precision bfloat16: not supported by the CPU of {platform.node()} (OpenVINO would compute in {chosen}); "
        "use a CPU with AVX512_BF16 or AMX, or start a new lake with --precision float32"
    )


def _alternative_engine(precision: str) -> str:
    return ", or use --engine onnxruntime" if precision == "float32" else ""
