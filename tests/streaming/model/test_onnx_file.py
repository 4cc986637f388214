"""Tests for `streaming.model.onnx_file`, with files that the package `onnx` writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from streaming.errors import ModelError
from streaming.model.onnx_file import _MESSAGES, check_self_contained

MESSAGES = {
    "ModelProto": onnx.ModelProto,
    "GraphProto": onnx.GraphProto,
    "NodeProto": onnx.NodeProto,
    "AttributeProto": onnx.AttributeProto,
    "TensorProto": onnx.TensorProto,
    "SparseTensorProto": onnx.SparseTensorProto,
    "TrainingInfoProto": onnx.TrainingInfoProto,
    "FunctionProto": onnx.FunctionProto,
}


def tensor(external: bool) -> onnx.TensorProto:
    """A tensor of 16 floats, in the file itself or in the file `secret`."""
    values = np.arange(16, dtype=np.float32)
    found = onnx.numpy_helper.from_array(values, "values")
    if external:
        found.ClearField("raw_data")
        found.data_location = TensorProto.EXTERNAL
        entry = found.external_data.add()
        entry.key, entry.value = "location", "secret"
    return found


def graph(**fields: list[object]) -> onnx.GraphProto:
    """A graph that returns `values`."""
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, [16])
    nodes = fields.pop("nodes", [])
    if not any("features" in node.output for node in nodes):  # type: ignore[attr-defined]
        nodes = [*nodes, helper.make_node("Identity", ["values"], ["features"])]
    return helper.make_graph(nodes, "graph", [], [output], **fields)


def initializer(value: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(initializer=[value]))


def constant(value: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["features"], value=value)
    return helper.make_model(graph(nodes=[node]))


def subgraph(value: onnx.TensorProto) -> onnx.ModelProto:
    branch = graph(nodes=[helper.make_node("Constant", [], ["features"], value=value)])
    deeper = graph(
        nodes=[
            helper.make_node("If", ["flag"], ["features"], then_branch=branch, else_branch=branch)
        ]
    )
    flag = helper.make_tensor("flag", TensorProto.BOOL, [], [True])
    node = helper.make_node("If", ["flag"], ["features"], then_branch=deeper, else_branch=deeper)
    return helper.make_model(graph(nodes=[node], initializer=[flag]))


def list_of_tensors(value: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["values"], ["features"])
    node.attribute.append(helper.make_attribute("extra", [value]))
    return helper.make_model(graph(nodes=[node], initializer=[tensor(False)]))


def list_of_graphs(value: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["values"], ["features"])
    node.attribute.append(helper.make_attribute("extra", [graph(initializer=[value])]))
    return helper.make_model(graph(nodes=[node], initializer=[tensor(False)]))


def sparse(value: onnx.TensorProto, indices: onnx.TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=value, indices=indices, dims=[16])


def sparse_values(value: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(sparse_initializer=[sparse(value, tensor(False))]))


def sparse_indices(value: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(sparse_initializer=[sparse(tensor(False), value)]))


def sparse_attribute(value: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["features"])
    found = sparse(value, tensor(False))
    node.attribute.append(helper.make_attribute("sparse_value", found))
    return helper.make_model(graph(nodes=[node]))


def function(value: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"], value=value)
    body = helper.make_function("", "Read", [], ["y"], [node], [helper.make_opsetid("", 17)])
    call = helper.make_node("Read", [], ["features"])
    return helper.make_model(graph(nodes=[call]), functions=[body])


def function_default(value: onnx.TensorProto) -> onnx.ModelProto:
    found = function(tensor(False))
    found.functions[0].attribute_proto.append(helper.make_attribute("extra", value))
    return found


def training(value: onnx.TensorProto) -> onnx.ModelProto:
    found = initializer(tensor(False))
    found.training_info.append(onnx.TrainingInfoProto(algorithm=graph(initializer=[value])))
    return found


@pytest.mark.parametrize(
    "build",
    [
        initializer,
        constant,
        subgraph,
        list_of_tensors,
        list_of_graphs,
        sparse_values,
        sparse_indices,
        sparse_attribute,
        function,
        function_default,
        training,
    ],
)
def test_external_tensor_is_rejected_anywhere(
    build: Callable[[onnx.TensorProto], onnx.ModelProto],
) -> None:
    check_self_contained(build(tensor(False)).SerializeToString(), "m.onnx")
    with pytest.raises(ModelError, match=r"^m\.onnx: contains a tensor .* in another file; "):
        check_self_contained(build(tensor(True)).SerializeToString(), "m.onnx")


def test_external_data_without_location_flag_is_rejected() -> None:
    found = tensor(True)
    found.ClearField("data_location")
    with pytest.raises(ModelError, match="in another file"):
        check_self_contained(initializer(found).SerializeToString(), "m.onnx")


def test_flag_alone_and_memory_address_are_rejected() -> None:
    flag = tensor(True)
    flag.ClearField("external_data")
    address = tensor(True)
    address.external_data[0].value = "*/_ORT_MEM_ADDR_/*"
    for found in (flag, address):
        with pytest.raises(ModelError, match="in another file"):
            check_self_contained(initializer(found).SerializeToString(), "m.onnx")


@pytest.mark.parametrize("domain", ["com.microsoft", "custom", "ai.onnx.ml"])
def test_operator_outside_the_standard_is_rejected(domain: str) -> None:
    # com.microsoft::EPContext names a file that ONNX Runtime opens.
    node = helper.make_node("EPContext", [], ["features"], domain=domain, ep_cache_context="secret")
    model = helper.make_model(graph(nodes=[node]))
    with pytest.raises(ModelError, match="contains an operator outside the ONNX standard"):
        check_self_contained(model.SerializeToString(), "m.onnx")


def test_files_of_other_formats_are_rejected() -> None:
    model = initializer(tensor(False)).SerializeToString()
    polyglot = onnx.ModelProto(producer_name="xxORTM").SerializeToString() + model
    for content in (
        b"",
        b"<?xml version='1.0'?><net name='m' version='11'></net>",
        b"\x18\x00\x00\x00ORTM" + bytes(64),
        polyglot[2:],
        model[:-1],
        b"\x08\x08",  # a version and no graph
        b"\x0b" + model,
        model + b"\xfa\x7f\x00",  # a field of a later version
        b"\x3a" * 200,
    ):
        with pytest.raises(ModelError, match=r"^m\.onnx: [^\n]+ or start a new lake$"):
            check_self_contained(content, "m.onnx")


def test_deeply_nested_graphs_are_rejected_without_recursion_error() -> None:
    content = b""
    for _ in range(400):  # node -> attribute -> graph
        for field in (0x32, 0x2A, 0x0A):
            content = bytes([field]) + onnx_length(len(content)) + content
    with pytest.raises(ModelError, match="nested too deeply"):
        check_self_contained(b"\x3a" + onnx_length(len(content)) + content, "m.onnx")


def onnx_length(value: int) -> bytes:
    """Encode a protobuf varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def test_fields_correspond_to_the_onnx_package() -> None:
    """Each message with tensors, operators or graphs is checked, at each place; the other fields are plain values."""
    own = dict(zip(MESSAGES, _MESSAGES, strict=True))
    for name, message in MESSAGES.items():
        fields = message.DESCRIPTOR.fields
        nested = {
            f.number: own[f.message_type.name]
            for f in fields
            if f.message_type and f.message_type.name in own
        }
        found = _MESSAGES[own[name]]
        assert found.messages == nested
        assert found.values <= {f.number for f in fields} - nested.keys()


def test_random_bytes_end_in_a_model_error() -> None:
    random = np.random.default_rng(0)
    model = bytearray(subgraph(tensor(False)).SerializeToString())
    for _ in range(2000):
        content = bytearray(model)
        for place in random.integers(0, len(content), 3):
            content[place] = random.integers(256)
        try:
            check_self_contained(bytes(content), "m.onnx")
        except ModelError:
            continue


def test_external_tensor_would_be_read_by_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault that the check prevents: features with the content of a file."""
    import onnxruntime

    monkeypatch.chdir(tmp_path)
    np.full(16, 7.0, np.float32).tofile("secret")
    content = initializer(tensor(True)).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.run(None, {})[0].tolist() == [7.0] * 16


@pytest.mark.slow
def test_exported_network_is_accepted_within_50_milliseconds() -> None:
    from support.lakes.real_model import exported

    _, files = exported("random")
    started = time.process_time()
    check_self_contained(files["model.onnx"], "model.onnx")
    assert time.process_time() - started < 0.05
