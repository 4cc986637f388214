"""Tests for `streaming.model.store`: find, create, validate and read the single model of a lake."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streaming.errors import LakeError, ModelError
from streaming.images.decode import DECODER_REVISION, DecodeSettings
from streaming.model.backends import PRECISIONS
from streaming.model.keras import ConvertedModel
from streaming.model.metadata import ModelInfo, make_model_id
from streaming.model.mobilenet_v2 import LAYER, random_tensors, tensors_sha256
from streaming.model.quantize import QuantizedModel
from streaming.model.store import ensure_model, find_model, read_model, resolve_precision
from streaming.model.weights import IMAGENET_FILE
from streaming.storage.interface import TransientError
from streaming.storage.local import LocalStorage
from support.faults.failing_listing import fail_listing
from support.lakes.real_model import exported, weights_file

# The ONNX file has a version and an empty graph.
ONNX, KERAS = b"\x08\x08\x3a\x00", b"fake Keras"


@pytest.fixture
def models(tmp_path: Path) -> str:
    return f"file:{tmp_path}/My lake/models"


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


def store_model(
    models: str,
    weights: str,
    weights_sha256: str,
    precision: str = "float32",
    revision: int = DECODER_REVISION,
) -> ModelInfo:
    """Write a model with this metadata and fake files to the lake."""
    model_info = ModelInfo(
        model_id=make_model_id(weights_sha256, 224, LAYER, revision, precision),
        architecture="MobileNetV2",
        weights=weights,
        weights_sha256=weights_sha256,
        layer=LAYER,
        width=1280,
        input_size=224,
        divisor=127.5,
        offset=-1.0,
        decoder_revision=revision,
        precision=precision,
        onnx_sha256=hashlib.sha256(ONNX).hexdigest(),
        keras_sha256=hashlib.sha256(KERAS).hexdigest(),
        versions={},
        created_at="2026-03-03T00:00:00+00:00",
    )
    _write(models, model_info)
    return model_info


def _write(models: str, model_info: ModelInfo) -> None:
    files = {"model.onnx": ONNX, "model.weights.h5": KERAS, "model.json": b""}
    files["model.json"] = model_info.to_json().encode()
    for name, content in files.items():
        LocalStorage().write(f"{models}/{model_info.model_id}/{name}", content)


def test_find_model_in_missing_lake_returns_none(models: str) -> None:
    assert find_model(models) is None


def test_find_model_without_metadata_returns_none(models: str) -> None:
    model_info = store_model(models, "a.h5", "1" * 64)
    Path(f"{models[5:]}/{model_info.model_id}/model.json").unlink()
    assert find_model(models) is None


def test_existing_model_is_found(models: str) -> None:
    model_info = store_model(models, "a.h5", "1" * 64)
    assert find_model(models) == model_info
    assert ensure_model(models, None) == model_info


def test_invalid_metadata_error_names_file(models: str) -> None:
    LocalStorage().write(f"{models}/some/model.json", b"{}")
    with pytest.raises(ModelError, match=r"My lake/models/some/model\.json"):
        find_model(models)


def test_two_models_are_rejected(models: str) -> None:
    one, other = store_model(models, "a.h5", "1" * 64), store_model(models, "b.h5", "2" * 64)
    with pytest.raises(LakeError, match=f"{one.model_id}, {other.model_id}"):
        find_model(models)


def test_other_decoder_revision_is_rejected(models: str) -> None:
    model_info = store_model(models, "a.h5", "1" * 64)
    for revision in (1, DECODER_REVISION + 1):
        _write(models, replace(model_info, decoder_revision=revision))
        with pytest.raises(
            LakeError, match=f"requires decoder revision {revision}, but .* supports 2 and 3; start"
        ):
            ensure_model(models, None)


def test_existing_lake_keeps_decoder_revision_and_new_lake_gets_the_current_one(
    models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = store_model(models, "a.h5", "1" * 64, revision=2)
    assert "-d2-" in old.model_id
    kept = ensure_model(models, None)
    assert kept == old
    assert kept.decode_settings(max_pixels=5) == DecodeSettings(max_pixels=5, revision=2)

    converted = ConvertedModel(ONNX, KERAS, {})
    monkeypatch.setattr("streaming.model.export.convert", lambda tensors: converted)
    new = ensure_model(f"file:{tmp_path}/new/models", "random")
    assert "-d3-" in new.model_id
    assert new.decode_settings() == DecodeSettings(revision=3)
    former = ensure_model(f"file:{tmp_path}/rows of revision 2/models", "random", revision=2)
    assert (former.decoder_revision, former.model_id) == (2, new.model_id.replace("-d3-", "-d2-"))
    with pytest.raises(LakeError, match="requires decoder revision 1, but"):
        ensure_model(f"file:{tmp_path}/rows of revision 1/models", "random", revision=1)


def test_other_weights_are_rejected_with_both_names_and_remedy(models: str, tmp_path: Path) -> None:
    model_info = store_model(models, "a.h5", hashlib.sha256(b"first").hexdigest())
    (tmp_path / "a.h5").write_bytes(b"second")
    for weights in (str(tmp_path / "a.h5"), "random", "imagenet"):
        with pytest.raises(LakeError) as caught:
            ensure_model(models, weights)
        line = str(caught.value)
        assert model_info.model_id in line
        assert "a.h5" in line
        assert f"not with {weights}" in line
        assert line.endswith("or start a new lake")
        assert "\n" not in line


def test_same_weights_file_with_other_name_is_accepted(models: str, tmp_path: Path) -> None:
    model_info = store_model(models, "a.h5", hashlib.sha256(b"first").hexdigest())
    (tmp_path / "b.h5").write_bytes(b"first")
    assert ensure_model(models, str(tmp_path / "b.h5")) == model_info


def test_random_weights_are_accepted_if_model_has_them(models: str) -> None:
    model_info = store_model(models, "random", tensors_sha256(random_tensors()))
    assert ensure_model(models, "random") == model_info


def test_imagenet_is_compared_by_hash_if_cached_otherwise_by_name(
    models: str, keras_home: Path
) -> None:
    model_info = store_model(models, "imagenet", hashlib.sha256(b"first").hexdigest())
    assert ensure_model(models, "imagenet") == model_info
    (keras_home / IMAGENET_FILE).write_bytes(b"first")
    assert ensure_model(models, "imagenet") == model_info
    (keras_home / IMAGENET_FILE).write_bytes(b"second")
    with pytest.raises(LakeError, match="not with imagenet"):
        ensure_model(models, "imagenet")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_resolve_precision_returns_precision_of_lake(models: str, precision: str) -> None:
    store_model(models, "a.h5", "1" * 64, precision)
    assert resolve_precision(models, None) == precision
    assert resolve_precision(models, precision) == precision


def test_resolve_precision_of_new_lake_defaults_to_float32(models: str) -> None:
    assert resolve_precision(models, None) == "float32"
    assert resolve_precision(models, "bfloat16") == "bfloat16"


def test_other_precision_is_rejected_with_both_and_remedy(models: str) -> None:
    model_info = store_model(models, "a.h5", "1" * 64)
    with pytest.raises(LakeError) as caught:
        resolve_precision(models, "bfloat16")
    line = str(caught.value)
    assert f"its model {model_info.model_id} computes in float32, not bfloat16; " in line
    assert line.endswith("leave out --precision to keep it, or start a new lake")


def test_deleted_model_is_replaced_by_one_of_the_same_precision(models: str) -> None:
    assert resolve_precision(models, None, "int8") == "int8"
    assert resolve_precision(models, "int8", "int8") == "int8"
    with pytest.raises(LakeError) as caught:
        resolve_precision(models, "float32", "int8")
    line = str(caught.value)
    assert "the deleted model of its rows computes in int8, not float32; leave out" in line


@pytest.mark.parametrize("precision", PRECISIONS)
def test_new_model_id_contains_precision(
    models: str, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    converted = ConvertedModel(ONNX, KERAS, {})
    quantized = QuantizedModel(ONNX, {"recipe": "r"}, {})
    monkeypatch.setattr("streaming.model.export.convert", lambda tensors: converted)
    monkeypatch.setattr("streaming.model.export.quantize", lambda *model_and_settings: quantized)
    created = ensure_model(models, "random", precision)
    sha256 = f"-{hashlib.sha256(ONNX).hexdigest()[:8]}" if precision == "int8" else ""
    assert created.model_id.endswith(f"-{precision}{sha256}")
    assert created.quantization == ({"recipe": "r"} if precision == "int8" else {})
    assert find_model(models) == created
    assert resolve_precision(models, None) == precision


def test_read_model_returns_file_for_engine(models: str) -> None:
    model_info = store_model(models, "a.h5", "1" * 64)
    assert read_model(models, model_info, "onnxruntime") == ONNX
    assert read_model(models, model_info, "openvino") == ONNX
    assert read_model(models, model_info, "tensorflow") == KERAS


@pytest.mark.parametrize(
    ("engine", "name"), [("onnxruntime", "model.onnx"), ("tensorflow", "model.weights.h5")]
)
def test_damaged_or_missing_file_is_named(models: str, engine: str, name: str) -> None:
    model_info = store_model(models, "a.h5", "1" * 64)
    file = Path(f"{models[5:]}/{model_info.model_id}/{name}")
    file.write_bytes(b"something else")
    with pytest.raises(ModelError, match=f"{name}: damaged"):
        read_model(models, model_info, engine)
    file.unlink()
    with pytest.raises(ModelError, match=f"{name}: missing; restore it"):
        read_model(models, model_info, engine)


@pytest.mark.long
@pytest.mark.slow
def test_existing_model_is_used_without_tensorflow(
    shared: Path, models: str, keras_home: Path
) -> None:
    shutil.copy(weights_file(shared), keras_home)
    created = ensure_model(models, None)
    assert created.weights == "imagenet"
    assert created.model_id == exported(str(weights_file(shared)))[0].model_id
    code = (
        "import sys\nfrom streaming.model.store import ensure_model, read_model\n"
        "found = ensure_model(sys.argv[1], sys.argv[2])\n"
        "read_model(sys.argv[1], found, 'onnxruntime')\n"
        "print(found.created_at, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, models, str(weights_file(shared))],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{created.created_at} False\n"


def test_model_is_not_exported_again_if_the_store_cannot_be_listed(
    models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_model(models, "random", "a" * 64)
    folder = Path(models.removeprefix("file:"))
    fail_listing(monkeypatch, folder, errno.ESTALE)
    with pytest.raises(TransientError):
        ensure_model(models, "random")
    assert len(os.listdir(folder)) == 1
