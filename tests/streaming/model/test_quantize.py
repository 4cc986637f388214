"""Tests for `streaming.model.quantize`: features of the int8 network beside those in float32, on real photographs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from streaming.images.decode import DecodeSettings
from streaming.model.onnx_file import check_self_contained
from streaming.model.quantize import RECIPE, _with_canonical_names, quantize
from support.lakes.real_model import DEFAULT, INT8, engine, exported, features, weights_file

pytestmark = [pytest.mark.slow, pytest.mark.long]

Features = NDArray[np.float32]


@pytest.fixture(scope="module")
def photographs(shared: Path) -> list[Path]:
    return sorted((shared / "data/fruits/many").rglob("*.jpg"))


@pytest.fixture(scope="module")
def float32(shared: Path, photographs: list[Path]) -> Features:
    return features(DEFAULT, str(weights_file(shared)), photographs)


@pytest.fixture(scope="module")
def int8(shared: Path, photographs: list[Path]) -> Features:
    return features(INT8, str(weights_file(shared)), photographs)


def test_cosine_to_float32(float32: Features, int8: Features) -> None:
    lengths = np.linalg.norm(int8, axis=1) * np.linalg.norm(float32, axis=1)
    cosines = (int8 * float32).sum(axis=1) / lengths
    assert len(cosines) == 1200
    assert cosines.min() >= 0.985  # the tolerance is 0.98
    assert np.median(cosines) >= 0.995
    assert cosines.max() < 0.9999  # otherwise it computed in float32


def test_nearest_neighbor_accuracy_without_the_photograph_itself(
    photographs: list[Path], float32: Features, int8: Features
) -> None:
    labels = [file.parent.name for file in photographs]

    def accuracy(found: Features) -> float:
        search = KNeighborsClassifier(1, metric="cosine", algorithm="brute").fit(found, labels)
        nearest = search.kneighbors(return_distance=False)[:, 0]  # of X itself: without the row
        return float(
            np.mean([labels[i] == label for i, label in zip(nearest, labels, strict=True)])
        )

    assert accuracy(int8) == pytest.approx(accuracy(float32), abs=0.005)


def test_principal_components_turn_less_than_without_a_tenth_of_the_rows(
    float32: Features, int8: Features
) -> None:
    def components(found: Features) -> NDArray[Any]:
        return np.asarray(
            PCA(10, svd_solver="full").fit(StandardScaler().fit_transform(found)).components_
        )

    def angle(one: NDArray[Any], other: NDArray[Any]) -> float:
        cosines = np.linalg.svd(one @ other.T, compute_uv=False)
        return float(np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))))

    full = components(float32)
    rng = np.random.default_rng(0)
    removed = [angle(full, components(float32[rng.random(len(float32)) >= 0.1])) for _ in range(5)]
    assert angle(full, components(int8)) <= np.median(removed)


def test_features_do_not_depend_on_the_batch_size(shared: Path) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (5, 224, 224, 3)).astype(np.float32)
    loaded = engine(INT8, str(weights_file(shared)))
    together = loaded.run(images)
    for number, image in enumerate(images):
        np.testing.assert_array_equal(loaded.run(image[np.newaxis])[0], together[number])


def test_engine_computes_all_but_three_convolutions_in_int8(shared: Path) -> None:
    """OpenVINO itself reports the precision of each operator that it runs."""
    (request,) = engine(INT8, str(weights_file(shared)))._requests  # type: ignore[attr-defined]
    operators = request.get_compiled_model().get_runtime_model().get_ordered_ops()
    info = [operator.get_rt_info() for operator in operators]
    precisions = [
        str(i["runtimePrecision"].value) for i in info if i["layerType"].value == "Convolution"
    ]
    assert sorted(precisions) == ["f32"] * 3 + ["u8"] * 49


def test_model_records_recipe_versions_and_hash(shared: Path) -> None:
    model_info, files = exported(str(weights_file(shared)), "int8")
    sha256 = hashlib.sha256(files["model.onnx"]).hexdigest()
    assert model_info.onnx_sha256 == sha256
    assert model_info.model_id == f"mobilenetv2-224-71e4c4ec4aa2-gap-d3-int8-{sha256[:8]}"
    assert model_info.quantization["recipe"] == RECIPE
    assert "60 for the ranges, 32 for the biases" in model_info.quantization["calibration"]
    assert {"onnx", "onnxruntime", "tf2onnx"} <= set(model_info.versions)

    assert len(files["model.onnx"]) < 3_000_000
    check_self_contained(files["model.onnx"], "model.onnx")


def test_another_export_writes_the_same_file(shared: Path) -> None:
    _, files = exported(str(weights_file(shared)), "int8")
    _, float32_files = exported(str(weights_file(shared)))  # exported in another call
    assert quantize(float32_files["model.onnx"], DecodeSettings()).onnx == files["model.onnx"]


def test_names_of_the_exporter_have_no_effect() -> None:
    import onnx

    _, files = exported("random")
    network = onnx.load_from_string(files["model.onnx"])
    expected = _with_canonical_names(onnx.load_from_string(files["model.onnx"]))
    renamed = {tensor.name: f"x{i}" for i, tensor in enumerate(network.graph.initializer)}
    for tensor in network.graph.initializer:
        tensor.name = renamed[tensor.name]
    tensors = list(reversed(network.graph.initializer))
    del network.graph.initializer[:]
    network.graph.initializer.extend(tensors)
    network.graph.doc_string = "another process"
    network.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "unk__7"
    for number, node in enumerate(network.graph.node):
        node.name = f"y{number}"
        node.input[:] = [renamed.get(name, name) for name in node.input]
    assert _with_canonical_names(network) == expected
