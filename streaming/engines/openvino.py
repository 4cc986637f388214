"""Run the network with OpenVINO on the CPU: as fast as ONNX Runtime in float32, and able to compute in bfloat16."""

from __future__ import annotations

import importlib.util
import platform
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.errors import ModelError
from streaming.model.metadata import ModelInfo

#: The words of OpenVINO for our precisions.
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
# In bfloat16 the first convolutions stay in float32: nine tenths of the error would be theirs (ARCHITECTURE.md).
_EXACT_CONVOLUTIONS = 24


class OpenVinoEngine:
    """OpenVINO, compiled for one image a call: 5 % faster than a number left open, and little memory.

    The precision is the model's, said outright: left to itself, OpenVINO takes bfloat16 wherever the processor has it,
    and float32 without a word where bfloat16 was asked for and is not there.
    """

    name = "openvino"
    batch = 4

    def __init__(self, extractor: ModelInfo, model: bytes, threads: int) -> None:
        """Compile `model.onnx`; ModelError where package, processor or file do not allow it."""
        if why := unavailable_reason(extractor.precision):
            raise ModelError(why)
        self._width = extractor.width
        core = _openvino().Core()
        try:
            network = core.read_model(model)
            network.reshape([1, extractor.input_size, extractor.input_size, 3])
            parts = [(network, extractor.precision)]
            if extractor.precision == "bfloat16":
                head, tail = _divided(network, _EXACT_CONVOLUTIONS)
                parts = [(head, "float32"), (tail, "bfloat16")]
            compiled = [
                core.compile_model(part, "CPU", settings(precision, threads))
                for part, precision in parts
            ]
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{extractor.model_id}: OpenVINO cannot load it ({reason}); "
                "restore model.onnx, or start a new lake"
            ) from error
        chosen = compiled[-1].get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if chosen != _HINTS[extractor.precision]:
            raise ModelError(_no_precision(extractor.precision, chosen))
        self._requests = [part.create_infer_request() for part in compiled]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, width) of images (n, size, size, 3)."""
        features = np.empty((len(images), self._width), np.float32)
        for index in range(len(images)):
            values = images[index : index + 1]
            for request in self._requests:
                values = request.infer(values, share_inputs=True, share_outputs=True)[0]
            features[index] = values[0]
        return features


def _divided(network: Any, convolutions: int) -> tuple[Any, Any]:
    """A network as two that follow each other; so many convolutions are the first one's."""
    openvino = _openvino()
    found = [node for node in network.get_ordered_ops() if "Convolution" in node.get_type_name()]
    border = found[convolutions].input_value(0)
    between = openvino.opset13.parameter(border.shape, border.element_type)
    for reader in border.get_target_inputs():
        reader.replace_source_output(between.output(0))
    results = [result.input_value(0) for result in network.get_results()]
    return openvino.Model([border], network.get_parameters()), openvino.Model(results, [between])


def settings(precision: str, threads: int) -> dict[str, object]:
    """What OpenVINO is told: the precision, and to share the cores with the worker's neighbours.

    Parameters
    ----------
    precision : str
        One of `streaming.model.backends.PRECISIONS`.
    threads : int
        Threads of one operation.
    """
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Each of several workers would pin itself to the same first cores.
        "ENABLE_CPU_PINNING": False,
    }


def unavailable_reason(precision: str) -> str | None:
    """Why this machine cannot run OpenVINO in a precision, with the remedy; None where it can."""
    if importlib.util.find_spec("openvino") is None:
        return (
            f"engine openvino: the package is not installed on {platform.node()}; "
            "pip install 'pomona[openvino]' there" + _or_another_engine(precision)
        )
    if precision == "bfloat16" and not has_bfloat16():
        return _no_precision(precision, "f32")
    return None


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino() -> Any:
    """The package, without the report that it would send to its maker's statistics with every import."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # as if not installed
    import openvino

    return openvino


def _no_precision(precision: str, chosen: str) -> str:
    return (
        f"precision {precision}: the processor of {platform.node()} does not have it (OpenVINO would compute in "
        f"{chosen}); use one with AVX512_BF16 or AMX, or start a new lake with --precision float32"
    )


def _or_another_engine(precision: str) -> str:
    return ", or use --engine onnxruntime" if precision == "float32" else ""
