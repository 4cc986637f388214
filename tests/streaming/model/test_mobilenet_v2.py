"""Tests for `streaming.model.mobilenet_v2`: layers, shapes, and random weights."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from streaming.model.mobilenet_v2 import random_tensors, tensors_sha256, weighted_layers
from support.lakes.real_model import weights_file


def test_layers_and_shapes_match_weights_file(shared: Path) -> None:
    with h5py.File(weights_file(shared)) as file:
        groups = {name: file[name].attrs["weight_names"] for name in file.attrs["layer_names"]}
        expected = [
            (name, tuple(file[name][weight].shape for weight in weights))
            for name, weights in groups.items()
            if len(weights)
        ]
    assert [(layer.name, layer.shapes) for layer in weighted_layers()] == expected


def test_number_of_parameters() -> None:
    sizes = [int(np.prod(shape)) for layer in weighted_layers() for shape in layer.shapes]
    assert (len(sizes), sum(sizes)) == (260, 2_257_984)


def test_ten_blocks_are_residual() -> None:
    assert sum(layer.residual for layer in weighted_layers()) == 10


def test_random_tensors_are_reproducible() -> None:
    # If this changes, existing lakes with random weights reject `--weights random`.
    expected = "bdb95ec7f92ea5dd41a3cddc1bfdbb613b028ca6d6746db87eab21c4a153c2f6"
    assert tensors_sha256(random_tensors()) == expected


def test_random_tensors_depend_on_seed() -> None:
    assert tensors_sha256(random_tensors(1)) != tensors_sha256(random_tensors(0))


def test_random_tensors_have_shapes_and_dtype_of_network() -> None:
    tensors = random_tensors()
    for layer in weighted_layers():
        assert tuple(tensor.shape for tensor in tensors[layer.name]) == layer.shapes
        assert all(tensor.dtype == np.float32 for tensor in tensors[layer.name])


def test_tensors_sha256_changes_with_one_value() -> None:
    tensors = dict(random_tensors())
    before = tensors_sha256(tensors)
    kernel = tensors["Conv_1"][0].copy()
    kernel[0, 0, 319, 1279] += 1
    tensors["Conv_1"] = (kernel,)
    assert tensors_sha256(tensors) != before
