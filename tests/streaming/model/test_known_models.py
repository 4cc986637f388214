"""Tests for `streaming.model.known_models`: a replaced model is not loaded, with any engine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from streaming.errors import ModelError
from streaming.model.backends import ENGINES
from streaming.model.known_models import check_known, record_file, record_model
from streaming.model.metadata import ModelInfo
from streaming.model.store import find_model, read_model


def network(constant: float) -> bytes:
    """An ONNX file whose output is a constant."""
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, [1])
    node = helper.make_node("Constant", [], ["features"], value_floats=[constant])
    model: onnx.ModelProto = helper.make_model(helper.make_graph([node], "g", [], [output]))
    return model.SerializeToString()


def store_model(models: Path, constant: float, **changes: Any) -> ModelInfo:
    """Write a model, with hashes that match its files, over an earlier one."""
    files = {"model.onnx": network(constant), "model.weights.h5": b"%f" % constant}
    texts = ("architecture", "weights", "weights_sha256", "layer", "created_at")
    model_info = ModelInfo(
        **dict.fromkeys(texts, "x"),
        model_id="m",
        width=1,
        input_size=1,
        divisor=1.0,
        offset=0.0,
        decoder_revision=1,
        precision="float32",
        onnx_sha256=hashlib.sha256(files["model.onnx"]).hexdigest(),
        keras_sha256=hashlib.sha256(files["model.weights.h5"]).hexdigest(),
        versions={},
    )
    model_info = replace(model_info, **changes)
    (models / "m").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (models / "m" / name).write_bytes(content)
    (models / "m" / "model.json").write_text(model_info.to_json())
    return model_info


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "models"


def load(models: Path, engine: str = "onnxruntime") -> bytes:
    found = find_model(f"file:{models}")
    assert found
    return read_model(f"file:{models}", found, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_model_replaced_together_with_its_hashes_is_not_loaded(models: Path, engine: str) -> None:
    store_model(models, 1.0)
    assert load(models, engine) == load(models, engine)
    store_model(models, 2.0)
    with pytest.raises(ModelError) as caught:
        load(models, engine)
    file = record_file(f"file:{models}")
    assert file
    assert str(caught.value) == (
        f"file:{models}: its model m is not the one that this user ran before; restore it, or "
        f"delete {file} if you trust the model that is there now"
    )
    file.unlink()
    load(models, engine)


@pytest.mark.parametrize(
    "change", [{"offset": 5.0}, {"divisor": 2.0}, {"input_size": 9}, {"decoder_revision": 2}]
)
def test_changed_scaling_of_the_same_network_is_rejected(
    models: Path, change: dict[str, Any]
) -> None:
    store_model(models, 1.0)
    load(models)
    store_model(models, 1.0, **change)
    with pytest.raises(ModelError, match="is not the one that this user ran before"):
        load(models)


def test_changed_description_is_accepted(models: Path) -> None:
    store_model(models, 1.0)
    load(models)
    store_model(models, 1.0, created_at="later", versions={"onnx": "2"}, weights="other name")
    load(models)


def test_new_export_of_this_process_replaces_the_record(models: Path) -> None:
    store_model(models, 1.0)
    load(models)
    record_model(f"file:{models}", store_model(models, 2.0))
    load(models)


def test_record_is_private_and_separate_for_each_lake(models: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "models"
    for place, constant in ((models, 1.0), (other, 2.0)):
        store_model(place, constant)
        load(place)
    files = {record_file(f"file:{place}") for place in (models, other)}
    assert len(files) == 2
    for file in files:
        assert file
        assert file.parent.stat().st_mode & 0o077 == 0
        assert file.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_damaged_record_is_an_error(models: Path, content: bytes) -> None:
    store_model(models, 1.0)
    file = record_file(f"file:{models}")
    assert file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    with pytest.raises(ModelError, match="delete"):
        load(models)


def test_read_only_configuration_folder_loads_the_model(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    model_info = store_model(models, 1.0)
    check_known(f"file:{models}", model_info)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "relative")
    assert record_file(f"file:{models}") is None
    check_known(f"file:{models}", model_info)


def test_record_names_the_lake(models: Path) -> None:
    store_model(models, 1.0)
    load(models)
    file = record_file(f"file:{models}")
    assert file
    assert json.loads(file.read_text())["models"] == f"file:{models}"
