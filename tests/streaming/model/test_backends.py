"""Tests for `streaming.model.backends`: one table, and rows of different programs may meet by it."""

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


def test_all_that_share_a_model_id_have_the_bound_of_the_design() -> None:
    assert {
        TOLERANCES[way].max_difference for way in supported_backends(None, None, "float32")
    } == {1e-4}


def test_half_the_bits_are_held_to_direction_and_neighbours() -> None:
    (way,) = supported_backends(None, None, "bfloat16")
    assert (TOLERANCES[way].min_cosine, TOLERANCES[way].max_accuracy_loss) == (0.999, 0.01)


def test_the_words_are_those_of_the_table_and_the_first_are_the_defaults() -> None:
    assert ENGINES == ("onnxruntime", "openvino", "tensorflow")
    assert DEVICES == ("cpu", "cuda")
    assert PRECISIONS == ("float32", "bfloat16")
    assert next(iter(TOLERANCES)) == Backend(ENGINES[0], DEVICES[0], PRECISIONS[0])


def test_words_left_open_find_all_that_fit() -> None:
    assert supported_backends(None, None, None) == list(TOLERANCES)
    assert supported_backends("openvino", None, "bfloat16") == [
        Backend("openvino", "cpu", "bfloat16")
    ]
    assert supported_backends("tensorflow", "cuda", None) == []


def test_the_documents_tell_of_every_way_and_its_bound() -> None:
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "ingestion.md").read_text()
    table = [line.split(" | ") for line in page.splitlines() if line.count("|") == 6]
    told = {Backend(*(cell.strip("| `") for cell in cells[:3])): cells[3] for cells in table[2:]}
    assert set(told) == set(TOLERANCES)
    for way, bound in TOLERANCES.items():
        for number in (bound.max_difference, bound.min_cosine, bound.max_accuracy_loss):
            assert number is None or f"{number:f}".rstrip("0") in told[way]
