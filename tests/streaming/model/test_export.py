"""Tests for `streaming.model.export`: files, metadata, and features of random weights."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from streaming.errors import UsageError
from streaming.model.export import export
from support.lakes.real_model import DEFAULT, exported, features, weights_file


@pytest.mark.slow
def test_exported_files_match_their_hashes(shared: Path) -> None:
    """Their order and the metadata are checked by `support.lakes.real_model`."""
    model_info, files = exported(str(weights_file(shared)))
    assert hashlib.sha256(files["model.onnx"]).hexdigest() == model_info.onnx_sha256
    assert hashlib.sha256(files["model.weights.h5"]).hexdigest() == model_info.keras_sha256


@pytest.mark.slow
def test_metadata_of_mobilenet(shared: Path) -> None:
    model_info, _ = exported(str(weights_file(shared)))
    assert model_info.model_id == "mobilenetv2-224-71e4c4ec4aa2-gap-d3-float32"
    assert (model_info.width, model_info.input_size) == (1280, 224)
    assert [v / model_info.divisor + model_info.offset for v in (0, 255)] == [-1, 1]
    assert datetime.fromisoformat(model_info.created_at).utcoffset() == timedelta(0)


@pytest.mark.slow
def test_random_weights_distinguish_images(shared: Path) -> None:
    files = sorted((shared / "data/fruits/poc").rglob("*.jpg"))
    found = features(DEFAULT, "random", files)
    assert found.std(axis=0).min() > 1e-3
    assert found.std(axis=0).mean() > 0.03
    distances = np.linalg.norm(found[:, None] - found[None], axis=2)[~np.eye(20, dtype=bool)]
    assert distances.min() > 0.05


@pytest.mark.slow
def test_random_weights_have_fixed_model_id() -> None:
    model_info, _ = exported("random")
    assert model_info.model_id == "mobilenetv2-224-bdb95ec7f92e-gap-d3-float32"
    assert model_info.weights == "random"


def test_unknown_precision_error_lists_precisions() -> None:
    with pytest.raises(UsageError, match="--precision int4: choose one of float32, bfloat16, int8"):
        export("random", "int4")
