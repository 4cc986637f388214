"""Tests for error messages of the command line: one line with a remedy, before Spark or TensorFlow starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streaming.images.decode import DECODER_REVISION
from streaming.model.metadata import ModelInfo
from streaming.model.mobilenet_v2 import random_tensors, tensors_sha256
from support.lakes.small_lakes import put
from support.processes.cli import Command, forbid_spark, make_workspace


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_spark(monkeypatch)


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_workspace(tmp_path, monkeypatch)


def write_model(lake: Path, **changes: Any) -> Path:
    """Create a lake with the metadata of a model that was exported with random weights."""
    values = {
        "model_id": "mobilenetv2-224-random",
        "architecture": "MobileNetV2",
        "weights": "random",
        "weights_sha256": tensors_sha256(random_tensors()),
        "layer": "global_average_pooling2d",
        "width": 1280,
        "input_size": 224,
        "divisor": 127.5,
        "offset": -1.0,
        "decoder_revision": DECODER_REVISION,
        "precision": "float32",
        "onnx_sha256": "0" * 64,
        "keras_sha256": "0" * 64,
        "versions": {},
        "created_at": "2026-03-03T00:00:00+00:00",
    }
    model_info = ModelInfo(**values | changes)
    folder = lake / "models" / model_info.model_id
    put(folder / "model.json", model_info.to_json().encode())
    return folder


ERRORS = [
    ("ingest nowhere lake --once", "nowhere does not exist: give a folder"),
    ("ingest nowhere lake", "nowhere does not exist: give a folder"),
    ("ingest notes.txt lake", "notes.txt is a file: give its parent folder"),
    ("ingest empty lake --once", "empty contains no images (it is empty)"),
    (
        "ingest other lake --once",
        "other contains no images (1 file ignored, no image suffix: 1 .txt)",
    ),
    ("ingest photos photos", "photos: choose a folder outside of it"),
    ("ingest photos photos/lake", "lies inside the source"),
    ("ingest photos ./other/../photos/lake/", "lies inside the source"),
    ("ingest photos link/lake", "lies inside the source"),
    ("ingest photos/Fig photos", "lies inside the lake"),
    ("ingest / other/lake", "lies inside the source"),
    ("ingest s3://fruits/a s3a://fruits/a/lake/", "lies inside the source"),
    ("ingest photos other", "other contains other files (notes.txt, …) and is not a lake"),
    ("ingest photos notes.txt", "notes.txt is a file: choose a folder for the lake"),
    ("ingest photos lake --weights none.h5", "none.h5: weights file not found"),
    ("ingest photos lake --weights notes.txt", "notes.txt: is not an HDF5 file"),
    ("ingest photos lake --weights half.h5", "half.h5: truncated"),
    ("ingest photos lake --weights another.h5", "another.h5: weights of another network"),
    ("ingest photos lake --weights photos", "photos"),
    ("status nowhere", "nowhere is not a lake"),
    ("status nowhere --json", "nowhere is not a lake"),
    ("status photos", "photos is not a lake (it has no features/)"),
    ("quarantine photos", "photos is not a lake"),
    ("history photos", "photos is not a lake"),
    ("refit photos", "photos is not a lake"),
    ("refit photos --every 1h", "photos is not a lake"),
    ("refit notes.txt --components 2", "notes.txt is not a lake"),
    ("demo --folder notes.txt/demo --weights random", "notes.txt"),
    ("demo --folder demo --weights none.h5", "none.h5: weights file not found"),
]


@pytest.mark.parametrize(("line", "message"), ERRORS)
def test_error_is_one_line_with_a_remedy(
    pomona: Command, working_folder: Path, line: str, message: str
) -> None:
    done = pomona(*line.split())
    assert done.status == 1
    if "--weights" in line or line.startswith("demo"):  # these print their steps until the error
        done = type(done)(done.status, "", done.err)
    assert message in done.error_line


def test_error_creates_no_lake(pomona: Command, working_folder: Path) -> None:
    before = sorted(working_folder.rglob("*"))
    for line in ("ingest empty lake --once", "ingest photos lake --weights half.h5", "refit lake"):
        assert pomona(*line.split()).status == 1
    assert sorted(working_folder.rglob("*")) == before


def test_empty_source_is_not_an_error_for_a_stream(pomona: Command, working_folder: Path) -> None:
    folder = write_model(working_folder / "lake")
    assert "model.onnx: missing" in pomona("ingest", "empty", "lake").error_line
    assert folder.name in pomona("ingest", "empty", "lake").error_line


def test_other_weights_are_rejected(pomona: Command, working_folder: Path) -> None:
    write_model(working_folder / "lake", weights="mine.h5", weights_sha256="ab" * 32)
    for weights in ("random", "another.h5"):
        message = pomona("ingest", "photos", "lake", "--weights", weights).error_line
        assert "mobilenetv2-224-random was exported from the weights mine.h5" in message
        assert f"not with {weights}" in message
        assert "leave out --weights to keep it" in message


def test_damaged_model_error_names_file_and_remedy(pomona: Command, working_folder: Path) -> None:
    folder = write_model(working_folder / "lake")
    put(folder / "model.onnx", b"damaged")
    message = pomona("ingest", "photos", "lake", "--weights", "random").error_line
    assert f"{folder.name}/model.onnx: damaged" in message
    assert "--weights random" in message
    put(folder / "model.json", b"{}")
    assert (
        "model.json: is broken (model_id is missing)"
        in pomona("ingest", "photos", "lake").error_line
    )


def test_unwritable_lake_location_is_an_error(
    pomona: Command, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(working_folder / "elsewhere")
    model = ModelInfo.from_json((folder / "model.json").read_bytes())
    monkeypatch.setattr("streaming.model.store.export", lambda *_: (model, {"model.onnx": b"1"}))
    message = pomona("ingest", "photos", "/proc/lake").error_line
    assert "/proc/lake" in message


def test_lake_of_another_decoder_is_rejected(pomona: Command, working_folder: Path) -> None:
    write_model(working_folder / "lake", decoder_revision=DECODER_REVISION + 1)
    assert "start a new lake" in pomona("ingest", "photos", "lake").error_line


HALF = "mobilenetv2-224-random-bfloat16"


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_unsupported_precision_fails_before_writing(
    pomona: Command, working_folder: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    write_model(working_folder / "half", model_id=HALF, precision=precision)
    before = sorted(working_folder.rglob("*"))
    half = ("ingest", "photos", "half", "--weights", "random")
    new = ("ingest", "photos", "new", "--weights", "random", "--precision", precision)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("streaming.engines.openvino.has_bfloat16", lambda: False)
    monkeypatch.setattr("streaming.engines.openvino.has_int8", lambda: False)
    for arguments in (half, new):
        line = pomona(*arguments).error_line
        assert f"precision {precision}: " in line
        assert line.endswith("or start a new lake with --precision float32")
        assert pomona(*arguments).status == 1
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for arguments in (half, new, (*half[:3], "--engine", "openvino")):
        assert "pip install 'pomona[openvino]'" in pomona(*arguments).error_line
        assert pomona(*arguments).status == 1
    assert sorted(working_folder.rglob("*")) == before


def test_other_precision_is_rejected(pomona: Command, working_folder: Path) -> None:
    write_model(working_folder / "lake")
    write_model(working_folder / "half", model_id=HALF, precision="bfloat16")
    message = pomona("ingest", "photos", "lake", "--precision", "bfloat16")
    assert (message.status, "computes in float32, not bfloat16" in message.error_line) == (1, True)
    message = pomona("ingest", "photos", "half", "--precision", "float32")
    assert (message.status, f"{HALF} computes in bfloat16, not float32" in message.error_line) == (
        1,
        True,
    )


def test_engine_without_the_precision_of_the_lake_is_rejected(
    pomona: Command, working_folder: Path
) -> None:
    write_model(working_folder / "half", model_id=HALF, precision="bfloat16")
    for arguments in (
        ("--engine", "onnxruntime"),
        ("--engine", "tensorflow"),
        ("--device", "cuda"),
    ):
        message = pomona("ingest", "photos", "half", *arguments)
        assert message.status == 1
        assert "use --engine openvino --device cpu, or start a new lake" in message.error_line
