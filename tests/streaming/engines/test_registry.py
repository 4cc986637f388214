"""Tests for `streaming.engines.registry`: all backends agree, and the choice of an engine fails early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streaming.engines.registry import choose_engine, create_engine
from streaming.errors import ModelError, UsageError
from streaming.model.backends import ENGINES, TOLERANCES, Backend
from support.lakes.real_model import (
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
@pytest.mark.parametrize("backend", FLOAT32, ids="-".join)
def test_features_of_black_image_match_reference_values(shared: Path, backend: Backend) -> None:
    bound = TOLERANCES[backend].max_difference
    zeros = np.zeros((1, 224, 224, 3), np.float32)
    (found,) = engine(backend, str(weights_file(shared))).run(zeros)
    assert found.sum() == pytest.approx(412.7478, abs=1e-3)
    assert np.linalg.norm(found) == pytest.approx(24.0531, abs=bound)
    assert (found.argmax(), found.max()) == (1060, pytest.approx(4.4317, abs=bound))
    assert (found > 0).sum() == 909


@pytest.mark.slow
@pytest.mark.parametrize("backend", FLOAT32, ids="-".join)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_engine_accepts_any_number_of_images(shared: Path, backend: Backend, count: int) -> None:
    images = np.random.default_rng(0).random((count, 224, 224, 3), np.float32)
    loaded = engine(backend, str(weights_file(shared)))
    found = loaded.run(images)
    assert (loaded.name, found.shape) == (backend.engine, (count, 1280))
    assert found.dtype == np.float32
    assert loaded.batch >= 1
    for image, row in zip(images, found, strict=True):
        np.testing.assert_allclose(loaded.run(image[None])[0], row, rtol=0, atol=1e-4)


@pytest.mark.long
@pytest.mark.slow
def test_nearest_neighbor_accuracy_with_trained_weights(shared: Path) -> None:
    files = sorted((shared / "data/fruits/many").rglob("*.jpg"))
    assert (len(files), len({file.parent for file in files})) == (1200, 24)
    found = features(DEFAULT, str(weights_file(shared)), files)
    assert nearest_neighbor_accuracy(found, files) >= 0.75


@pytest.mark.slow
@pytest.mark.parametrize("backend", BFLOAT16, ids="-".join)
def test_bfloat16_features_have_minimum_cosine_for_each_image(
    shared: Path, backend: Backend
) -> None:
    files = sorted((shared / "data/fruits/poc").rglob("*.jpg"))
    bfloat16 = features(backend, str(weights_file(shared)), files)
    float32 = features(Backend("tensorflow", "cpu", "float32"), str(weights_file(shared)), files)
    lengths = np.linalg.norm(bfloat16, axis=1) * np.linalg.norm(float32, axis=1)
    min_cosine = TOLERANCES[backend].min_cosine
    assert min_cosine is not None
    assert ((bfloat16 * float32).sum(axis=1) / lengths).min() >= min_cosine
    assert np.abs(bfloat16 - float32).max() > 1e-4  # otherwise it computed in float32


@pytest.mark.slow
@pytest.mark.parametrize("backend", BFLOAT16, ids="-".join)
def test_bfloat16_keeps_nearest_neighbor_accuracy(shared: Path, backend: Backend) -> None:
    files = sorted((shared / "data/fruits/many").rglob("*.jpg"))
    bfloat16 = nearest_neighbor_accuracy(features(backend, str(weights_file(shared)), files), files)
    float32 = nearest_neighbor_accuracy(features(DEFAULT, str(weights_file(shared)), files), files)
    assert bfloat16 == pytest.approx(float32, abs=TOLERANCES[backend].max_accuracy_loss)


def test_unknown_engine_error_lists_engines() -> None:
    with pytest.raises(UsageError, match="--engine torch: choose one of onnxruntime, openv"):
        create_engine("torch", None, b"")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_invalid_model_file_is_rejected_in_one_line(shared: Path, name: str) -> None:
    model_info, files = exported(str(weights_file(shared)))
    engine(Backend(name, "cpu", "float32"), str(weights_file(shared)))  # skips if not available
    for content in (b"", b"abc", files["model.onnx"][:1000]):
        with pytest.raises(ModelError, match=model_info.model_id) as caught:
            create_engine(name, model_info, content)
        assert "\n" not in str(caught.value)


def test_onnx_runtime_does_not_import_tensorflow() -> None:
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
    ("requested", "precision", "device", "expected"),
    [
        (None, "float32", "cpu", "onnxruntime"),
        (None, "float32", "cuda", "onnxruntime"),
        (None, "bfloat16", "cpu", "openvino"),
        (None, "int8", "cpu", "openvino"),
        ("openvino", "float32", "cpu", "openvino"),
        ("tensorflow", "float32", "cpu", "tensorflow"),
    ],
)
def test_choose_engine_without_request_depends_on_precision(
    monkeypatch: pytest.MonkeyPatch,
    requested: str | None,
    precision: str,
    device: str,
    expected: str,
) -> None:
    monkeypatch.setattr("streaming.engines.openvino.unavailable_reason", lambda precision: None)
    assert choose_engine(requested, precision, device) == expected


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize(
    ("requested", "device"), [("onnxruntime", "cpu"), ("tensorflow", "cpu"), (None, "cuda")]
)
def test_choose_engine_with_unsupported_precision_suggests_alternative(
    requested: str | None, device: str, precision: str
) -> None:
    with pytest.raises(ModelError) as caught:
        choose_engine(requested, precision, device)
    line = str(caught.value)
    assert line.startswith(f"precision {precision}: not supported by --")
    assert f"--device {device}; use --engine openvino --device cpu" in line
    assert line.endswith("or start a new lake in another precision")


def test_choose_engine_that_is_not_installed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for requested, precision in (("openvino", "float32"), (None, "bfloat16"), (None, "int8")):
        with pytest.raises(ModelError, match=r"pip install 'pomona\[openvino\]' there"):
            choose_engine(requested, precision, "cpu")
