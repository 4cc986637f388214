"""Promises of `streaming.engines`: the same features, whoever runs the network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from real_model import engine, exported, features, weights_file

from streaming.engines import ENGINES, create_engine
from streaming.errors import ModelError, UsageError


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_the_fingerprint_of_the_trained_weights(shared: Path, name: str) -> None:
    zeros = np.zeros((1, 224, 224, 3), np.float32)
    (found,) = engine(name, str(weights_file(shared))).run(zeros)
    assert found.sum() == pytest.approx(412.7478, abs=1e-3)
    assert np.linalg.norm(found) == pytest.approx(24.0531, abs=1e-4)
    assert (found.argmax(), found.max()) == (1060, pytest.approx(4.4317, abs=1e-4))
    assert (found > 0).sum() == 909


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_of_images(shared: Path, name: str, count: int) -> None:
    images = np.random.default_rng(0).random((count, 224, 224, 3), np.float32)
    running = engine(name, str(weights_file(shared)))
    found = running.run(images)
    assert (running.name, found.shape) == (name, (count, 1280))
    assert found.dtype == np.float32
    for image, row in zip(images, found, strict=True):
        np.testing.assert_allclose(running.run(image[None])[0], row, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_trained_features_know_a_fruit_from_another_side(shared: Path) -> None:
    files = sorted((shared / "data/fruits/many").rglob("*.jpg"))
    labels = np.array([file.parent.name for file in files])
    rotated = np.array([file.name.startswith("r_") for file in files])
    assert (len(files), len(set(labels))) == (1200, 24)
    found = features("onnxruntime", str(weights_file(shared)), files)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    nearest = (found[rotated] @ found[~rotated].T).argmax(axis=1)
    assert (labels[~rotated][nearest] == labels[rotated]).mean() >= 0.75


def test_an_unknown_engine_names_those_known() -> None:
    with pytest.raises(UsageError, match="engine torch: unknown; use one of onnxruntime, tens"):
        create_engine("torch", None, b"")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_a_file_that_is_no_model_is_refused_in_one_line(shared: Path, name: str) -> None:
    extractor, files = exported(str(weights_file(shared)))
    for content in (b"", b"abc", files["model.onnx"][:1000]):
        with pytest.raises(ModelError, match=extractor.model_id) as caught:
            create_engine(name, extractor, content)
        assert "\n" not in str(caught.value)


def test_onnx_runtime_needs_no_tensorflow() -> None:
    code = (
        "import sys, streaming.engines as e, streaming.errors as f\n"
        "try:\n    e.create_engine('onnxruntime', type('X', (), {'model_id': 'x'}), b'abc')\n"
        "except f.ModelError:\n    pass\n"
        "print(sorted({'tensorflow', 'keras', 'h5py', 'pyspark'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
