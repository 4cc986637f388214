"""Quantize an exported network to int8 after training, with generated images: no user data are needed.

The only module that imports `onnx` and ONNX Runtime's quantizer; both are imported inside the functions.
The recipe and its measurements are in docs/decisions/0073-int8-opt-in.md.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.images.decode import DecodeSettings, decode
from streaming.images.synthetic import SAMPLE_LABELS, draw
from streaming.model.metadata import INPUT_NAME

#: The features depend on it: a change needs a new text.
RECIPE = (
    "QDQ, MinMax, uint8 activations, int8 weights per channel; the first 3 convolutions and the pooling in float32; "
    "bias correction"
)

# The first depthwise convolution causes most of the error.
_FLOAT32_CONVOLUTIONS = 3
_FLOAT32_OPERATORS = ("GlobalAveragePool", "Squeeze", "Transpose")
# Numbers of the generated images: more of them do not change the features measurably.
_RANGE_IMAGES = range(60)
_BIAS_IMAGES = range(60, 92)
_SEED = 8
# Images per call of the bias correction. The activations of all images are kept: 150 MB at most in each network.
_BATCH = 4

# As in `streaming.engines.onnxruntime`: no telemetry, no id of the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Pixels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A quantized network, and what it depends on.

    Attributes
    ----------
    onnx : bytes
        ONNX with the input and the output of the float32 network. The same versions on the same kind of processor write
        the same file.
    quantization : dict of str to str
        Recipe and calibration.
    versions : dict of str to str
        Versions of the packages that quantized it.
    """

    onnx: bytes
    quantization: dict[str, str]
    versions: dict[str, str]


def quantize(float32_model: bytes, settings: DecodeSettings) -> QuantizedModel:
    """Quantize a network to int8. Takes about 20 s on 2 cores, and 0.8 GB of memory.

    Parameters
    ----------
    float32_model : bytes
        The network in ONNX, as `streaming.model.keras.convert` returns it.
    settings : DecodeSettings
        How images are decoded for this model.
    """
    import onnx
    import onnxruntime

    float32, quantized = _quantize_static(float32_model, _images(_RANGE_IMAGES, settings))
    _correct_biases(float32, quantized, _images(_BIAS_IMAGES, settings))
    quantization = {
        "recipe": RECIPE,
        "calibration": (
            f"generated images of seed {_SEED}: {len(_RANGE_IMAGES)} for the ranges, {len(_BIAS_IMAGES)} for the biases"
        ),
    }
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return QuantizedModel(quantized.SerializeToString(), quantization, versions)


def _images(numbers: range, settings: DecodeSettings) -> Pixels:
    """Return generated images as the network sees them in a lake: stored as JPEG and decoded."""
    pixels = []
    for number in numbers:
        label = SAMPLE_LABELS[number % len(SAMPLE_LABELS)]
        file = io.BytesIO()
        draw(label, np.random.default_rng((_SEED, number))).save(file, "JPEG", quality=90)
        pixels.append(decode(file.getvalue(), settings).pixels)
    return np.stack(pixels)


def _quantize_static(float32_model: bytes, images: Pixels) -> tuple[Any, Any]:
    """Return the network with batch normalizations folded, in float32 and with quantized tensors."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._inputs = ({INPUT_NAME: image[np.newaxis]} for image in images)

        def get_next(self) -> dict[str, Pixels] | None:
            return next(self._inputs, None)

    with tempfile.TemporaryDirectory() as folder:
        exported, folded, quantized = (
            Path(folder, f"{name}.onnx") for name in ("exported", "folded", "quantized")
        )
        exported.write_bytes(_with_canonical_names(onnx.load_from_string(float32_model)))
        # Its symbolic shape inference needs the package sympy, and a network with fixed shapes does not need it.
        quant_pre_process(str(exported), str(folded), skip_symbolic_shape=True)
        network = onnx.load(folded)
        quantize_static(
            str(folded),
            str(quantized),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=_float32_nodes(network),
        )
        return network, onnx.load(quantized)


def _with_canonical_names(network: Any) -> bytes:
    """Name nodes, tensors and constants by their order: tf2onnx names them differently in each process."""
    graph = network.graph
    names = {value.name: value.name for value in [*graph.input, *graph.output]}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    used: list[Any] = []
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
        for number, name in enumerate(node.input):
            if name in constants and name not in names:
                names[name] = f"constant_{len(used)}"
                used.append(constants[name])
            node.input[number] = names[name]
        for number, name in enumerate(node.output):
            node.output[number] = names.setdefault(name, f"{node.name}:{number}")
    for tensor in used:
        tensor.name = names[tensor.name]
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    graph.doc_string = ""  # it contains a number too
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(used)
    content: bytes = network.SerializeToString()
    return content


def _float32_nodes(network: Any) -> list[str]:
    """Return the names of the nodes that are not quantized."""
    first = [node for node in network.graph.node if node.op_type == "Conv"][:_FLOAT32_CONVOLUTIONS]
    outputs = {node.output[0] for node in first}
    return [
        *(node.name for node in first),
        *(
            node.name
            for node in network.graph.node
            if node.op_type in _FLOAT32_OPERATORS
            or (node.op_type == "Clip" and node.input[0] in outputs)
        ),
    ]


def _correct_biases(float32: Any, quantized: Any, images: Pixels) -> None:
    """Add the mean error of each channel of each quantized convolution to its bias, from the first to the last.

    Both networks run one convolution at a time. The corrected output is the input of what follows, so each convolution
    runs once.
    """
    from onnx import numpy_helper

    initializers = {tensor.name: tensor for tensor in quantized.graph.initializer}
    producers = {output: node for node in quantized.graph.node for output in node.output}
    networks = [list(_parts(network)) for network in (float32, quantized)]
    outputs: list[dict[str, Pixels]] = [{INPUT_NAME: images}, {INPUT_NAME: images}]
    for number, parts in enumerate(zip(*networks, strict=True)):
        expected, found = (part.run(known) for part, known in zip(parts, outputs, strict=True))
        bias = producers.get(parts[1].bias)
        if bias is not None:  # a convolution in float32 has none that is quantized
            stored, scale = (initializers[name] for name in bias.input[:2])
            steps = numpy_helper.to_array(scale).astype(np.float64)
            before = numpy_helper.to_array(stored).astype(np.int64)
            error = (expected - found).mean((0, 2, 3), dtype=np.float64)
            limits = np.iinfo(np.int32)
            after = np.clip(before + np.rint(error / steps), limits.min, limits.max)
            stored.CopyFrom(numpy_helper.from_array(after.astype(np.int32), stored.name))
            found += ((after - before) * steps).astype(np.float32)[:, np.newaxis, np.newaxis]
        for network, known, part, output in zip(
            networks, outputs, parts, (expected, found), strict=True
        ):
            known[part.output] = output
            needed = {name for later in network[number + 1 :] for name in later.inputs}
            for name in known.keys() - needed:
                del known[name]


@dataclass(frozen=True)
class _Part:
    """A convolution with everything between it and the convolutions before.

    Attributes
    ----------
    model : onnx.ModelProto
    inputs : list of str
        The outputs of earlier convolutions, or the images.
    bias : str
        Name of the bias; empty if there is none.
    output : str
    """

    model: Any
    inputs: list[str]
    bias: str
    output: str

    def run(self, known: dict[str, Pixels]) -> Pixels:
        """Return the output for all images."""
        import onnxruntime

        session = onnxruntime.InferenceSession(
            self.model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        inputs = {name: known[name] for name in self.inputs}
        count = len(next(iter(inputs.values())))
        batches = [
            session.run(
                [self.output], {name: values[i : i + _BATCH] for name, values in inputs.items()}
            )[0]
            for i in range(0, count, _BATCH)
        ]
        return np.concatenate(batches)


def _parts(network: Any) -> Iterator[_Part]:
    """Yield the convolutions of a network in order."""
    from onnx import helper

    nodes = list(network.graph.node)
    initializers = {tensor.name: tensor for tensor in network.graph.initializer}
    producers = {output: i for i, node in enumerate(nodes) for output in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    ends = {INPUT_NAME, *(node.output[0] for node in convolutions)}
    for convolution in convolutions:
        (output,) = convolution.output
        members, inputs, pending = {producers[output]}, [], list(convolution.input)
        while pending:
            name = pending.pop()
            if name in ends:
                inputs.append(name)
            elif name in producers and producers[name] not in members:
                members.add(producers[name])
                pending += nodes[producers[name]].input
        part = [nodes[index] for index in sorted(members)]
        used = {name for node in part for name in node.input}
        graph = helper.make_graph(
            part,
            "part",
            [_value_info(name) for name in dict.fromkeys(inputs)],
            [_value_info(output)],
            [tensor for name, tensor in initializers.items() if name in used],
        )
        model = helper.make_model(
            graph, opset_imports=network.opset_import, ir_version=network.ir_version
        )
        bias = convolution.input[2] if len(convolution.input) > 2 else ""
        yield _Part(model, list(dict.fromkeys(inputs)), bias, output)


def _value_info(name: str) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
