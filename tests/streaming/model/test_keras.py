"""Tests for `streaming.model.keras`: lazy import of TensorFlow, downloads, agreement with Keras, conversion."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streaming.model.backends import TOLERANCES, Backend
from streaming.model.keras import convert
from streaming.model.weights import parse_weights, read_weights
from support.lakes.real_model import FLOAT32, features, pixels, weights_file

ROOT = Path(__file__).parents[3]


def _python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    clean = {k: v for k, v in clean.items() if k.lower() != "no_proxy"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_import_loads_neither_tensorflow_nor_keras() -> None:
    done = _python(
        "import sys, streaming.model.keras\nprint(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.long
@pytest.mark.slow
def test_failed_download_is_reported_in_one_line_and_user_settings_change_nothing(
    tmp_path: Path,
) -> None:
    """In one process: starting TensorFlow takes seconds."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed_port = f"http://127.0.0.1:{unused.getsockname()[1]}"
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float16", "epsilon": 1e-07, "backend": "jax", '
        '"image_data_format": "channels_first"}'
    )
    done = _python(
        "from streaming.model.export import export\nfrom streaming.model.weights import WeightsUnavailable\n"
        "try:\n    export('imagenet')\nexcept WeightsUnavailable as error:\n    print(error)\n"
        "from streaming.model.keras import _build\nfrom streaming.model.mobilenet_v2 import random_tensors\n"
        "n = _build(random_tensors())\nprint(n.input_shape, n.output_shape, n.compute_dtype)",
        KERAS_HOME=str(tmp_path),
        https_proxy=closed_port,
        HTTPS_PROXY=closed_port,
    )
    assert done.stderr == ""
    error, network = done.stdout.splitlines()
    assert error.startswith("imagenet: Keras cannot download the weights (")
    assert "--weights PATH" in error
    assert "--weights random" in error
    assert network == "(None, 224, 224, 3) (None, 1280) float32"


@pytest.mark.slow
@pytest.mark.parametrize("backend", FLOAT32, ids="-".join)
def test_features_match_keras_application(shared: Path, backend: Backend) -> None:
    import keras

    network = keras.applications.MobileNetV2(
        weights=str(weights_file(shared)),
        include_top=False,
        pooling="avg",
        input_shape=(224, 224, 3),
    )
    files = sorted((shared / "data/fruits/poc").rglob("*.jpg"))
    assert len(files) == 20
    expected = network.predict(np.stack([pixels(file) for file in files]), verbose=0)
    found = features(backend, str(weights_file(shared)), files)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCES[backend].max_difference)


@pytest.mark.slow
def test_other_keras_file_layouts_have_same_tensors(shared: Path, tmp_path: Path) -> None:
    import keras

    network = keras.applications.MobileNetV2(weights=None, input_shape=(224, 224, 3))
    trained = read_weights(str(weights_file(shared))).tensors
    for name, values in trained.items():
        network.get_layer(name).set_weights(list(values))
    network.save(tmp_path / "whole.h5")
    network.save_weights(tmp_path / "new.weights.h5")
    for file in ("whole.h5", "new.weights.h5"):
        found = parse_weights((tmp_path / file).read_bytes(), file)
        assert list(found) == list(trained)
        for name, values in trained.items():
            for one, other in zip(found[name], values, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_converted_model_is_valid_and_complete(shared: Path) -> None:
    import onnx

    converted = convert(read_weights(str(weights_file(shared))).tensors)
    model = onnx.load_from_string(converted.onnx)
    onnx.checker.check_model(model)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [17]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert set(converted.versions) == {"tensorflow", "keras", "tf2onnx", "onnx", "opset"}
    reread = parse_weights(converted.keras, "converted")
    np.testing.assert_array_equal(
        reread["Conv_1"][0], read_weights(str(weights_file(shared))).tensors["Conv_1"][0]
    )
