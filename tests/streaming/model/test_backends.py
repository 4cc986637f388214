"""Tests for `streaming.model.backends`: the table of tolerances, its lookup and its documentation."""

from __future__ import annotations

from pathlib import Path

from streaming.model.backends import (
    DEVICES,
    ENGINES,
    PRECISIONS,
    TOLERANCES,
    Backend,
    supported_backends,
)


def test_float32_backends_have_same_tolerance() -> None:
    backends = supported_backends(precision="float32")
    assert {TOLERANCES[backend].max_difference for backend in backends} == {1e-4}


def test_bfloat16_tolerance_is_cosine_and_accuracy() -> None:
    (backend,) = supported_backends(precision="bfloat16")
    assert (TOLERANCES[backend].min_cosine, TOLERANCES[backend].max_accuracy_loss) == (0.999, 0.01)


def test_int8_tolerance_is_cosine_and_accuracy() -> None:
    (backend,) = supported_backends(precision="int8")
    assert backend == Backend("openvino", "cpu", "int8")
    assert (TOLERANCES[backend].min_cosine, TOLERANCES[backend].max_accuracy_loss) == (0.98, 0.005)


def test_option_values_and_defaults_come_from_table() -> None:
    assert ENGINES == ("onnxruntime", "openvino", "tensorflow")
    assert DEVICES == ("cpu", "cuda")
    assert PRECISIONS == ("float32", "bfloat16", "int8")
    assert next(iter(TOLERANCES)) == Backend(ENGINES[0], DEVICES[0], PRECISIONS[0])


def test_supported_backends_matches_given_values_only() -> None:
    assert supported_backends(None, None, None) == list(TOLERANCES)
    assert supported_backends("openvino", None, "bfloat16") == [
        Backend("openvino", "cpu", "bfloat16")
    ]
    assert supported_backends("tensorflow", "cuda", None) == []


def test_documentation_lists_every_backend_and_tolerance() -> None:
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "ingestion.md").read_text()
    table = [line.split(" | ") for line in page.splitlines() if line.count("|") == 9]
    documented = {
        Backend(*(cell.strip("| `") for cell in cells[:3])): cells[6] for cells in table[2:]
    }
    assert set(documented) == set(TOLERANCES)
    for backend, tolerance in TOLERANCES.items():
        for number in (
            tolerance.max_difference,
            tolerance.min_cosine,
            tolerance.max_accuracy_loss,
        ):
            assert number is None or f"{number:f}".rstrip("0") in documented[backend]
