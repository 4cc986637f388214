"""Tests for `streaming.engines.registry`.

The same features, whoever runs the network, and a choice made before all else.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streaming.engines.registry import choose_engine, create_engine
from streaming.errors import ModelError, UsageError
from streaming.model.backends import ENGINES, TOLERANCES, Backend
from support.real_model import (
    BFLOAT16,
    DEFAULT,
    FLOAT32,
    engine,
    exported,
    features,
    nearest_neighbor_accuracy,
    weights_file,
)


@pytest.mark.slow
@pytest.mark.parametrize("way", FLOAT32, ids="-".join)
def test_the_fingerprint_of_the_trained_weights(shared: Path, way: Backend) -> None:
    bound = TOLERANCES[way].max_difference
    zeros = np.zeros((1, 224, 224, 3), np.float32)
    (found,) = engine(way, str(weights_file(shared))).run(zeros)
    assert found.sum() == pytest.approx(412.7478, abs=1e-3)
    assert np.linalg.norm(found) == pytest.approx(24.0531, abs=bound)
    assert (found.argmax(), found.max()) == (1060, pytest.approx(4.4317, abs=bound))
    assert (found > 0).sum() == 909


@pytest.mark.slow
@pytest.mark.parametrize("way", FLOAT32, ids="-".join)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_of_images(shared: Path, way: Backend, count: int) -> None:
    images = np.random.default_rng(0).random((count, 224, 224, 3), np.float32)
    running = engine(way, str(weights_file(shared)))
    found = running.run(images)
    assert (running.name, found.shape) == (way.engine, (count, 1280))
    assert found.dtype == np.float32
    assert running.batch >= 1
    for image, row in zip(images, found, strict=True):
        np.testing.assert_allclose(running.run(image[None])[0], row, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_trained_features_know_a_fruit_from_another_side(shared: Path) -> None:
    files = sorted((shared / "data/fruits/many").rglob("*.jpg"))
    assert (len(files), len({file.parent for file in files})) == (1200, 24)
    found = features(DEFAULT, str(weights_file(shared)), files)
    assert nearest_neighbor_accuracy(found, files) >= 0.75


@pytest.mark.slow
@pytest.mark.parametrize("way", BFLOAT16, ids="-".join)
def test_half_the_bits_point_the_same_way_for_every_image(shared: Path, way: Backend) -> None:
    files = sorted((shared / "data/fruits/poc").rglob("*.jpg"))
    half = features(way, str(weights_file(shared)), files)
    full = features(Backend("tensorflow", "cpu", "float32"), str(weights_file(shared)), files)
    lengths = np.linalg.norm(half, axis=1) * np.linalg.norm(full, axis=1)
    least = TOLERANCES[way].min_cosine
    assert least is not None
    assert ((half * full).sum(axis=1) / lengths).min() >= least
    assert np.abs(half - full).max() > 1e-4  # or it was float32 after all


@pytest.mark.slow
@pytest.mark.parametrize("way", BFLOAT16, ids="-".join)
def test_half_the_bits_know_as_many_fruits(shared: Path, way: Backend) -> None:
    files = sorted((shared / "data/fruits/many").rglob("*.jpg"))
    half = nearest_neighbor_accuracy(features(way, str(weights_file(shared)), files), files)
    full = nearest_neighbor_accuracy(features(DEFAULT, str(weights_file(shared)), files), files)
    assert half == pytest.approx(full, abs=TOLERANCES[way].max_accuracy_loss)


def test_an_unknown_engine_names_those_known() -> None:
    with pytest.raises(UsageError, match="engine torch: unknown; use one of onnxruntime, openv"):
        create_engine("torch", None, b"")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_a_file_that_is_no_model_is_refused_in_one_line(shared: Path, name: str) -> None:
    extractor, files = exported(str(weights_file(shared)))
    engine(Backend(name, "cpu", "float32"), str(weights_file(shared)))  # skips where it is missing
    for content in (b"", b"abc", files["model.onnx"][:1000]):
        with pytest.raises(ModelError, match=extractor.model_id) as caught:
            create_engine(name, extractor, content)
        assert "\n" not in str(caught.value)


def test_onnx_runtime_needs_no_tensorflow() -> None:
    code = (
        "import sys, streaming.engines.registry as e, streaming.errors as f\n"
        "try:\n    e.create_engine('onnxruntime', type('X', (), {'model_id': 'x'}), b'abc')\n"
        "except f.ModelError:\n    pass\n"
        "slow = {'tensorflow', 'keras', 'h5py', 'pyspark', 'openvino'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("asked", "precision", "device", "chosen"),
    [
        (None, "float32", "cpu", "onnxruntime"),
        (None, "float32", "cuda", "onnxruntime"),
        (None, "bfloat16", "cpu", "openvino"),
        ("openvino", "float32", "cpu", "openvino"),
        ("tensorflow", "float32", "cpu", "tensorflow"),
    ],
)
def test_the_precision_chooses_where_no_one_did(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, precision: str, device: str, chosen: str
) -> None:
    monkeypatch.setattr("streaming.engines.openvino.unavailable_reason", lambda precision: None)
    assert choose_engine(asked, precision, device) == chosen


@pytest.mark.parametrize(
    ("asked", "device"), [("onnxruntime", "cpu"), ("tensorflow", "cpu"), (None, "cuda")]
)
def test_what_cannot_do_a_precision_is_refused_with_what_can(
    asked: str | None, device: str
) -> None:
    with pytest.raises(ModelError) as caught:
        choose_engine(asked, "bfloat16", device)
    line = str(caught.value)
    assert line.startswith("precision bfloat16: --")
    assert f"--device {device} does not have it; use --engine openvino --device cpu" in line
    assert line.endswith("or start a new lake in another precision")


def test_what_this_machine_lacks_is_told_when_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for asked, precision in (("openvino", "float32"), (None, "bfloat16")):
        with pytest.raises(ModelError, match=r"pip install 'pomona\[openvino\]' there"):
            choose_engine(asked, precision, "cpu")
