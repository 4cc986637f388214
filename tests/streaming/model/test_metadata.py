"""Tests for `streaming.model.metadata`: the content of `model.json`."""

from __future__ import annotations

import json
import pickle

import pytest

from streaming.errors import ModelError
from streaming.model.metadata import ModelInfo, make_model_id

SHA = "71e4c4ec4aa24c9c951b9265d6de42e1336dcf614c2214fa6a989208615e232c"


@pytest.fixture
def extractor() -> ModelInfo:
    return ModelInfo(
        model_id="mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32",
        architecture="MobileNetV2",
        weights="Früchte.h5",
        weights_sha256=SHA,
        layer="global_average_pooling2d",
        width=1280,
        input_size=224,
        divisor=127.5,
        offset=-1.0,
        decoder_revision=1,
        precision="float32",
        onnx_sha256="a" * 64,
        keras_sha256="b" * 64,
        versions={"tensorflow": "2.21.0", "opset": "17"},
        created_at="2026-03-03T00:00:00+00:00",
    )


def test_json_gives_back_what_went_in(extractor: ModelInfo) -> None:
    assert ModelInfo.from_json(extractor.to_json()) == extractor


def test_json_is_an_object_with_the_names_of_the_design(extractor: ModelInfo) -> None:
    loaded = json.loads(extractor.to_json())
    assert (loaded["width"], loaded["input_size"], loaded["weights"]) == (1280, 224, "Früchte.h5")
    assert loaded["versions"]["opset"] == "17"


def test_it_can_be_pickled_and_hashed(extractor: ModelInfo) -> None:
    assert pickle.loads(pickle.dumps(extractor)) == extractor
    assert len({extractor, pickle.loads(pickle.dumps(extractor))}) == 1


def test_fields_of_a_later_version_are_passed_over(extractor: ModelInfo) -> None:
    later = json.dumps(json.loads(extractor.to_json()) | {"mean": [1, 2]})
    assert ModelInfo.from_json(later) == extractor


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe\x00"])
def test_what_is_not_a_description_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"^lake/model\.json: .+; ") as caught:
        ModelInfo.from_json(text, "lake/model.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("width", "1280"), ("width", True), ("divisor", None), ("versions", [])]
)
def test_a_field_of_the_wrong_kind_is_named(extractor: ModelInfo, name: str, value: object) -> None:
    broken = json.dumps(json.loads(extractor.to_json()) | {name: value})
    with pytest.raises(ModelError, match=name):
        ModelInfo.from_json(broken)


def test_the_id_is_readable_and_names_all_that_features_depend_on() -> None:
    layer = "global_average_pooling2d"
    model_id = make_model_id(SHA, 224, layer, 1, "float32")
    others = {
        make_model_id("0" * 64, 224, layer, 1, "float32"),
        make_model_id(SHA, 192, layer, 1, "float32"),
        make_model_id(SHA, 224, "out_relu", 1, "float32"),
        make_model_id(SHA, 224, layer, 2, "float32"),
        make_model_id(SHA, 224, layer, 1, "bfloat16"),
    }
    assert model_id == "mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32"
    assert len(others | {model_id}) == 6
