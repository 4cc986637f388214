"""Check that an ONNX file is self-contained: loading it reads no other file and runs no custom operator.

ONNX tensors can be stored in other files, named by a path relative to the current directory. Engines read those files
unchecked. The check reads the protobuf encoding, because the package `onnx` is missing on clusters and takes
0.25 s to import. Fields that are not listed below are rejected, so a later version of the format is not misread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from streaming.errors import ModelError


@dataclass(frozen=True)
class _Message:
    """The fields of a protobuf message of onnx.proto that may occur.

    Attributes
    ----------
    values : frozenset of int
        Numbers of the fields that are skipped: numbers, text, and messages without tensors and operators.
    messages : mapping of int to str
        Numbers of the fields that are checked, with the names of their messages.
    """

    values: frozenset[int]
    messages: Mapping[int, str] = field(default_factory=dict)


_MESSAGES = {
    "ModelProto": _Message(
        frozenset({1, 2, 3, 4, 5, 6, 8, 14}), {7: "GraphProto", 20: "Training", 25: "Function"}
    ),
    "GraphProto": _Message(
        frozenset({2, 10, 11, 12, 13, 14, 16}), {1: "Node", 5: "Tensor", 15: "SparseTensor"}
    ),
    "Node": _Message(frozenset({1, 2, 3, 4, 6, 7, 8, 9}), {5: "Attribute"}),
    "Attribute": _Message(
        frozenset({1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21}),
        {
            5: "Tensor",
            6: "GraphProto",
            10: "Tensor",
            11: "GraphProto",
            22: "SparseTensor",
            23: "SparseTensor",
        },
    ),
    "Tensor": _Message(frozenset({1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16})),
    "SparseTensor": _Message(frozenset({3}), {1: "Tensor", 2: "Tensor"}),
    "Training": _Message(frozenset({3, 4}), {1: "GraphProto", 2: "GraphProto"}),
    "Function": _Message(
        frozenset({1, 4, 5, 6, 8, 9, 10, 12, 13, 14}), {7: "Node", 11: "Attribute"}
    ),
}
_NODE_DOMAIN = ("Node", 7)
_EXTERNAL_DATA, _DATA_LOCATION = ("Tensor", 13), ("Tensor", 14)
_STANDARD_DOMAINS = (b"", b"ai.onnx")
_MAX_DEPTH = 100  # as in protobuf


def check_self_contained(content: bytes, location: str) -> None:
    """Check that loading an ONNX file needs no other file and no operator outside the ONNX standard.

    Parameters
    ----------
    content : bytes
        The file.
    location : str
        Its location in error messages.

    Raises
    ------
    ModelError
        If it is not an ONNX file, a tensor of any graph is stored in another file, or an operator is not standard:
        some operators of ONNX Runtime open files too.
    """
    try:
        # ONNX Runtime reads a file with this identifier as its own format.
        if content[4:8] == b"ORTM" or not _check(memoryview(content), "ModelProto", 0):
            raise ValueError("is not an ONNX file")
    except ValueError as error:
        raise ModelError(
            f"{location}: {error}; restore the model that Pomona exported, or start a new lake"
        ) from error


def _check(content: memoryview, kind: str, depth: int) -> int:
    """Check a message and the messages in it; return the number of the latter."""
    if depth > _MAX_DEPTH:
        raise ValueError("contains graphs that are nested too deeply")
    nested = 0
    for number, value in _fields(content):
        place = (kind, number)
        if place == _EXTERNAL_DATA or (place == _DATA_LOCATION and value != 0):
            raise ValueError("contains a tensor that is stored in another file")
        if place == _NODE_DOMAIN and bytes(_bytes(value)) not in _STANDARD_DOMAINS:
            raise ValueError("contains an operator outside the ONNX standard")
        if message := _MESSAGES[kind].messages.get(number):
            nested += 1
            _check(_bytes(value), message, depth + 1)
        elif number not in _MESSAGES[kind].values:
            raise ValueError(f"contains an unknown field ({kind}, {number})")
    return nested


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field of a protobuf message."""
    position, end = 0, len(content)
    while position < end:
        key, position = _varint(content, position)
        wire_type, value = key & 7, 0
        if wire_type == 0:
            value, position = _varint(content, position)
            yield key >> 3, value
            continue
        if wire_type == 2:
            length, position = _varint(content, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError("is not an ONNX file")
        if length > end - position:
            raise ValueError("is not an ONNX file, or is truncated")
        yield key >> 3, content[position : position + length]
        position += length


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(content[position : position + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("is not an ONNX file, or is truncated")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("is not an ONNX file")
    return value
