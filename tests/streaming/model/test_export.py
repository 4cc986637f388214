"""Tests for `streaming.model.export`: weights become the three files of a model."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from streaming.errors import UsageError
from streaming.model.export import export
from streaming.model.metadata import ModelInfo
from support.real_model import DEFAULT, exported, features, weights_file


@pytest.mark.slow
def test_three_files_and_the_description_last(shared: Path) -> None:
    extractor, files = exported(str(weights_file(shared)))
    assert list(files) == ["model.onnx", "model.weights.h5", "model.json"]
    assert ModelInfo.from_json(files["model.json"]) == extractor
    assert hashlib.sha256(files["model.onnx"]).hexdigest() == extractor.onnx_sha256
    assert hashlib.sha256(files["model.weights.h5"]).hexdigest() == extractor.keras_sha256


@pytest.mark.slow
def test_the_description_says_what_mobilenet_needs(shared: Path) -> None:
    extractor, _ = exported(str(weights_file(shared)))
    assert extractor.model_id == "mobilenetv2-224-71e4c4ec4aa2-gap-d2-float32"
    assert (extractor.width, extractor.input_size) == (1280, 224)
    assert [v / extractor.divisor + extractor.offset for v in (0, 255)] == [-1, 1]
    assert datetime.fromisoformat(extractor.created_at).utcoffset() == timedelta(0)


@pytest.mark.slow
def test_random_weights_tell_images_apart(shared: Path) -> None:
    files = sorted((shared / "data/fruits/poc").rglob("*.jpg"))
    found = features(DEFAULT, "random", files)
    assert found.std(axis=0).min() > 1e-3
    assert found.std(axis=0).mean() > 0.03
    distances = np.linalg.norm(found[:, None] - found[None], axis=2)[~np.eye(20, dtype=bool)]
    assert distances.min() > 0.05


@pytest.mark.slow
def test_random_weights_always_give_the_same_id_and_features() -> None:
    extractor, _ = exported("random")
    assert extractor.model_id == "mobilenetv2-224-bdb95ec7f92e-gap-d2-float32"
    assert extractor.weights == "random"


def test_an_unknown_precision_names_those_known() -> None:
    with pytest.raises(UsageError, match="precision int4: unknown; use one of float32, bfloat16"):
        export("random", "int4")
