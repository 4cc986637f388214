"""Tests for `streaming.model.metadata`: `model.json` and model ids."""

from __future__ import annotations

import json
import pickle

import pytest

from streaming.errors import ModelError
from streaming.model.metadata import ModelInfo, make_model_id

SHA = "71e4c4ec4aa24c9c951b9265d6de42e1336dcf614c2214fa6a989208615e232c"


@pytest.fixture
def model_info() -> ModelInfo:
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


def test_json_round_trip(model_info: ModelInfo) -> None:
    assert ModelInfo.from_json(model_info.to_json()) == model_info


def test_json_field_names(model_info: ModelInfo) -> None:
    document = json.loads(model_info.to_json())
    assert (document["width"], document["input_size"], document["weights"]) == (
        1280,
        224,
        "Früchte.h5",
    )
    assert document["versions"]["opset"] == "17"


def test_model_info_can_be_pickled_and_hashed(model_info: ModelInfo) -> None:
    assert pickle.loads(pickle.dumps(model_info)) == model_info
    assert len({model_info, pickle.loads(pickle.dumps(model_info))}) == 1


def test_unknown_fields_are_ignored(model_info: ModelInfo) -> None:
    later = json.dumps(json.loads(model_info.to_json()) | {"mean": [1, 2]})
    assert ModelInfo.from_json(later) == model_info


def test_quantization_is_optional(model_info: ModelInfo) -> None:
    document = json.loads(model_info.to_json())
    for quantization in (None, {}):
        assert (
            ModelInfo.from_json(json.dumps(document | {"quantization": quantization})) == model_info
        )
    del document["quantization"]  # a model of an earlier version
    assert ModelInfo.from_json(json.dumps(document)) == model_info
    document["quantization"] = {"recipe": "QDQ"}
    assert ModelInfo.from_json(json.dumps(document)).quantization == {"recipe": "QDQ"}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe\x00"])
def test_invalid_json_is_rejected_in_one_line(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"^lake/model\.json: .+; ") as caught:
        ModelInfo.from_json(text, "lake/model.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", "1280"),
        ("width", True),
        ("divisor", None),
        ("versions", []),
        ("quantization", {"recipe": 1}),
    ],
)
def test_field_of_wrong_type_is_named(model_info: ModelInfo, name: str, value: object) -> None:
    broken = json.dumps(json.loads(model_info.to_json()) | {name: value})
    with pytest.raises(ModelError, match=name):
        ModelInfo.from_json(broken)


def test_model_id_depends_on_everything_that_features_depend_on() -> None:
    layer = "global_average_pooling2d"
    model_id = make_model_id(SHA, 224, layer, 1, "float32")
    others = {
        make_model_id("0" * 64, 224, layer, 1, "float32"),
        make_model_id(SHA, 192, layer, 1, "float32"),
        make_model_id(SHA, 224, "out_relu", 1, "float32"),
        make_model_id(SHA, 224, layer, 2, "float32"),
        make_model_id(SHA, 224, layer, 1, "bfloat16"),
        make_model_id(SHA, 224, layer, 1, "int8", "1" * 64),
        make_model_id(SHA, 224, layer, 1, "int8", "2" * 64),
    }
    assert model_id == "mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32"
    assert len(others | {model_id}) == 8
    assert "mobilenetv2-224-71e4c4ec4aa2-gap-d1-int8-11111111" in others
