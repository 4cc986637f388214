"""Tests for `streaming.model.store`: a lake has one model, made once, never mixed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streaming.errors import LakeError, ModelError
from streaming.images.decode import DECODER_REVISION
from streaming.model.backends import PRECISIONS
from streaming.model.keras import ConvertedModel
from streaming.model.metadata import ModelInfo, make_model_id
from streaming.model.mobilenet_v2 import LAYER, random_tensors, tensors_sha256
from streaming.model.store import ensure_model, find_model, read_model, resolve_precision
from streaming.model.weights import IMAGENET_FILE
from streaming.storage.local import LocalStorage
from support.real_model import exported, weights_file

ONNX, KERAS = b"as if ONNX", b"as if Keras"


@pytest.fixture
def models(tmp_path: Path) -> str:
    return f"file:{tmp_path}/My lake/models"


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


def stored(models: str, weights: str, weights_sha256: str, precision: str = "float32") -> ModelInfo:
    """A lake whose model says it has these weights; enough for all but running it."""
    extractor = ModelInfo(
        model_id=make_model_id(weights_sha256, 224, LAYER, DECODER_REVISION, precision),
        architecture="MobileNetV2",
        weights=weights,
        weights_sha256=weights_sha256,
        layer=LAYER,
        width=1280,
        input_size=224,
        divisor=127.5,
        offset=-1.0,
        decoder_revision=DECODER_REVISION,
        precision=precision,
        onnx_sha256=hashlib.sha256(ONNX).hexdigest(),
        keras_sha256=hashlib.sha256(KERAS).hexdigest(),
        versions={},
        created_at="2026-03-03T00:00:00+00:00",
    )
    _write(models, extractor)
    return extractor


def _write(models: str, extractor: ModelInfo) -> None:
    files = {"model.onnx": ONNX, "model.weights.h5": KERAS, "model.json": b""}
    files["model.json"] = extractor.to_json().encode()
    for name, content in files.items():
        LocalStorage().write(f"{models}/{extractor.model_id}/{name}", content)


def test_a_lake_that_does_not_exist_has_no_model(models: str) -> None:
    assert find_model(models) is None


def test_a_model_without_its_description_is_not_there(models: str) -> None:
    extractor = stored(models, "a.h5", "1" * 64)
    Path(f"{models[5:]}/{extractor.model_id}/model.json").unlink()
    assert find_model(models) is None


def test_the_model_of_a_lake_is_found(models: str) -> None:
    extractor = stored(models, "a.h5", "1" * 64)
    assert find_model(models) == extractor
    assert ensure_model(models, None) == extractor


def test_a_broken_description_is_named_by_its_location(models: str) -> None:
    LocalStorage().write(f"{models}/some/model.json", b"{}")
    with pytest.raises(ModelError, match=r"My lake/models/some/model\.json"):
        find_model(models)


def test_two_models_in_a_lake_are_refused(models: str) -> None:
    one, other = stored(models, "a.h5", "1" * 64), stored(models, "b.h5", "2" * 64)
    with pytest.raises(LakeError, match=f"{one.model_id}, {other.model_id}"):
        find_model(models)


def test_a_lake_of_another_decoder_is_refused(models: str) -> None:
    extractor = stored(models, "a.h5", "1" * 64)
    _write(models, replace(extractor, decoder_revision=DECODER_REVISION + 1))
    with pytest.raises(LakeError, match=f"of the decoder, not {DECODER_REVISION}; start"):
        ensure_model(models, None)


def test_other_weights_are_refused_with_both_names_and_the_remedy(
    models: str, tmp_path: Path
) -> None:
    extractor = stored(models, "a.h5", hashlib.sha256(b"first").hexdigest())
    (tmp_path / "a.h5").write_bytes(b"second")
    for asked in (str(tmp_path / "a.h5"), "random", "imagenet"):
        with pytest.raises(LakeError) as caught:
            ensure_model(models, asked)
        line = str(caught.value)
        assert extractor.model_id in line
        assert "a.h5" in line
        assert f"not with {asked}" in line
        assert line.endswith("or start a new lake")
        assert "\n" not in line


def test_the_same_file_under_another_name_is_accepted(models: str, tmp_path: Path) -> None:
    extractor = stored(models, "a.h5", hashlib.sha256(b"first").hexdigest())
    (tmp_path / "b.h5").write_bytes(b"first")
    assert ensure_model(models, str(tmp_path / "b.h5")) == extractor


def test_random_is_accepted_where_it_was_used(models: str) -> None:
    extractor = stored(models, "random", tensors_sha256(random_tensors()))
    assert ensure_model(models, "random") == extractor


def test_imagenet_is_compared_by_hash_where_keras_has_it_and_by_name_where_not(
    models: str, keras_home: Path
) -> None:
    extractor = stored(models, "imagenet", hashlib.sha256(b"first").hexdigest())
    assert ensure_model(models, "imagenet") == extractor
    (keras_home / IMAGENET_FILE).write_bytes(b"first")
    assert ensure_model(models, "imagenet") == extractor
    (keras_home / IMAGENET_FILE).write_bytes(b"second")
    with pytest.raises(LakeError, match="not with imagenet"):
        ensure_model(models, "imagenet")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_lake_keeps_its_precision(models: str, precision: str) -> None:
    stored(models, "a.h5", "1" * 64, precision)
    assert resolve_precision(models, None) == precision
    assert resolve_precision(models, precision) == precision


def test_a_new_lake_gets_what_is_asked_for_and_float32_otherwise(models: str) -> None:
    assert resolve_precision(models, None) == "float32"
    assert resolve_precision(models, "bfloat16") == "bfloat16"


def test_another_precision_is_refused_with_both_and_the_remedy(models: str) -> None:
    extractor = stored(models, "a.h5", "1" * 64)
    with pytest.raises(LakeError) as caught:
        resolve_precision(models, "bfloat16")
    line = str(caught.value)
    assert f"its model {extractor.model_id} computes in float32, not bfloat16; " in line
    assert line.endswith("leave out --precision to keep it, or start a new lake")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_id_of_a_new_model_ends_with_its_precision(
    models: str, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    converted = ConvertedModel(ONNX, KERAS, {})
    monkeypatch.setattr("streaming.model.export.convert", lambda tensors: converted)
    made = ensure_model(models, "random", precision)
    assert made.model_id.endswith(f"-{precision}")
    assert find_model(models) == made
    assert resolve_precision(models, None) == precision


def test_each_engine_gets_its_file(models: str) -> None:
    extractor = stored(models, "a.h5", "1" * 64)
    assert read_model(models, extractor, "onnxruntime") == ONNX
    assert read_model(models, extractor, "openvino") == ONNX
    assert read_model(models, extractor, "tensorflow") == KERAS


@pytest.mark.parametrize(
    ("engine", "name"), [("onnxruntime", "model.onnx"), ("tensorflow", "model.weights.h5")]
)
def test_a_damaged_or_missing_file_is_named(models: str, engine: str, name: str) -> None:
    extractor = stored(models, "a.h5", "1" * 64)
    file = Path(f"{models[5:]}/{extractor.model_id}/{name}")
    file.write_bytes(b"something else")
    with pytest.raises(ModelError, match=f"{name}: damaged"):
        read_model(models, extractor, engine)
    file.unlink()
    with pytest.raises(ModelError, match=f"{name}: missing; restore it"):
        read_model(models, extractor, engine)


@pytest.mark.slow
def test_a_model_is_made_once_and_then_without_tensorflow(
    shared: Path, models: str, keras_home: Path
) -> None:
    shutil.copy(weights_file(shared), keras_home)
    made = ensure_model(models, None)
    assert made.weights == "imagenet"
    assert made.model_id == exported(str(weights_file(shared)))[0].model_id
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
    assert done.stdout == f"{made.created_at} False\n"
