"""Tests for `streaming.model.mobilenet_v2`: the network's tensors as data, and the seeded filling."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from streaming.model.mobilenet_v2 import random_tensors, tensors_sha256, weighted_layers
from support.real_model import weights_file


def test_layers_and_shapes_are_those_of_the_trained_file(shared: Path) -> None:
    with h5py.File(weights_file(shared)) as file:
        groups = {name: file[name].attrs["weight_names"] for name in file.attrs["layer_names"]}
        theirs = [
            (name, tuple(file[name][weight].shape for weight in weights))
            for name, weights in groups.items()
            if len(weights)
        ]
    assert [(layer.name, layer.shapes) for layer in weighted_layers()] == theirs


def test_there_are_as_many_parameters_as_the_weights_readme_says() -> None:
    sizes = [int(np.prod(shape)) for layer in weighted_layers() for shape in layer.shapes]
    assert (len(sizes), sum(sizes)) == (260, 2_257_984)


def test_ten_blocks_add_their_input() -> None:
    assert sum(layer.residual for layer in weighted_layers()) == 10


def test_random_tensors_are_the_same_everywhere_and_for_ever() -> None:
    # Were this to change, every lake made with random weights would refuse `--weights random`.
    pinned = "bdb95ec7f92ea5dd41a3cddc1bfdbb613b028ca6d6746db87eab21c4a153c2f6"
    assert tensors_sha256(random_tensors()) == pinned


def test_another_seed_gives_another_network() -> None:
    assert tensors_sha256(random_tensors(1)) != tensors_sha256(random_tensors(0))


def test_random_tensors_have_the_shapes_and_types_of_the_network() -> None:
    tensors = random_tensors()
    for layer in weighted_layers():
        assert tuple(tensor.shape for tensor in tensors[layer.name]) == layer.shapes
        assert all(tensor.dtype == np.float32 for tensor in tensors[layer.name])


def test_the_hash_sees_one_changed_number() -> None:
    tensors = dict(random_tensors())
    before = tensors_sha256(tensors)
    kernel = tensors["Conv_1"][0].copy()
    kernel[0, 0, 319, 1279] += 1
    tensors["Conv_1"] = (kernel,)
    assert tensors_sha256(tensors) != before
