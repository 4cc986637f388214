"""Tests for the command: a mistake is one line with the remedy, before Spark or TensorFlow start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streaming.images.decode import DECODER_REVISION
from streaming.model.metadata import ModelInfo
from streaming.model.mobilenet_v2 import random_tensors, tensors_sha256
from support.cli import Command, forbid_spark, make_place
from support.lakes import put


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_spark(monkeypatch)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_place(tmp_path, monkeypatch)


def write_model(lake: Path, **changes: Any) -> Path:
    """A lake whose model says that it was made with random weights."""
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


MISTAKES = [
    ("ingest nowhere lake --once", "nowhere does not exist: give a folder"),
    ("ingest nowhere lake", "nowhere does not exist: give a folder"),
    ("ingest notes.txt lake", "notes.txt is a file: give its parent folder"),
    ("ingest empty lake --once", "empty contains no images (0 other files)"),
    ("ingest other lake --once", "other contains no images (1 other files)"),
    ("ingest photos photos", "photos: choose a folder outside of it"),
    ("ingest photos photos/lake", "lies inside the source"),
    ("ingest photos ./other/../photos/lake/", "lies inside the source"),
    ("ingest photos link/lake", "lies inside the source"),
    ("ingest photos/Fig photos", "lies inside the lake"),
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


@pytest.mark.parametrize(("line", "told"), MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(
    pomona: Command, place: Path, line: str, told: str
) -> None:
    done = pomona(*line.split())
    assert done.status == 1
    if line.startswith("demo"):  # it has said what it did so far
        done = type(done)(done.status, "", done.err)
    assert told in done.complaint


def test_a_mistake_leaves_no_lake_behind(pomona: Command, place: Path) -> None:
    before = sorted(place.rglob("*"))
    for line in ("ingest empty lake --once", "ingest photos lake --weights half.h5", "refit lake"):
        assert pomona(*line.split()).status == 1
    assert sorted(place.rglob("*")) == before


def test_a_source_that_is_empty_now_is_no_mistake_for_a_stream(
    pomona: Command, place: Path
) -> None:
    folder = write_model(place / "lake")
    assert "model.onnx: missing" in pomona("ingest", "empty", "lake").complaint
    assert folder.name in pomona("ingest", "empty", "lake").complaint


def test_a_lake_made_with_other_weights_is_kept(pomona: Command, place: Path) -> None:
    write_model(place / "lake", weights="mine.h5", weights_sha256="ab" * 32)
    for asked in ("random", "another.h5"):
        told = pomona("ingest", "photos", "lake", "--weights", asked).complaint
        assert "mobilenetv2-224-random was exported from the weights mine.h5" in told
        assert f"not with {asked}" in told
        assert "leave out --weights to keep it" in told


def test_a_damaged_model_names_the_file_and_the_remedy(pomona: Command, place: Path) -> None:
    folder = write_model(place / "lake")
    put(folder / "model.onnx", b"damaged")
    told = pomona("ingest", "photos", "lake", "--weights", "random").complaint
    assert f"{folder.name}/model.onnx: damaged" in told
    assert "--weights random" in told
    put(folder / "model.json", b"{}")
    assert "model.json: lacks a valid 'model_id'" in pomona("ingest", "photos", "lake").complaint


def test_a_place_where_no_lake_can_be_made(
    pomona: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(place / "elsewhere")
    model = ModelInfo.from_json((folder / "model.json").read_bytes())
    monkeypatch.setattr("streaming.model.store.export", lambda *_: (model, {"model.onnx": b"1"}))
    told = pomona("ingest", "photos", "/proc/lake").complaint
    assert "/proc/lake" in told


def test_a_lake_of_another_decoder_is_refused(pomona: Command, place: Path) -> None:
    write_model(place / "lake", decoder_revision=DECODER_REVISION + 1)
    assert "start a new lake" in pomona("ingest", "photos", "lake").complaint


HALF = "mobilenetv2-224-random-bfloat16"


def test_a_precision_that_this_machine_lacks_is_told_before_anything_is_written(
    pomona: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(place / "half", model_id=HALF, precision="bfloat16")
    before = sorted(place.rglob("*"))
    half = ("ingest", "photos", "half", "--weights", "random")
    new = ("ingest", "photos", "new", "--weights", "random", "--precision", "bfloat16")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("streaming.engines.openvino.has_bfloat16", lambda: False)
    for words in (half, new):
        assert "not supported by" in pomona(*words).complaint
        assert pomona(*words).status == 1
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for words in (half, new, (*half[:3], "--engine", "openvino")):
        assert "pip install 'pomona[openvino]'" in pomona(*words).complaint
        assert pomona(*words).status == 1
    assert sorted(place.rglob("*")) == before


def test_a_lake_of_another_precision_is_kept(pomona: Command, place: Path) -> None:
    write_model(place / "lake")
    write_model(place / "half", model_id=HALF, precision="bfloat16")
    told = pomona("ingest", "photos", "lake", "--precision", "bfloat16")
    assert (told.status, "computes in float32, not bfloat16" in told.complaint) == (1, True)
    told = pomona("ingest", "photos", "half", "--precision", "float32")
    assert (told.status, f"{HALF} computes in bfloat16, not float32" in told.complaint) == (1, True)


def test_an_engine_that_lacks_the_precision_of_the_lake_is_refused(
    pomona: Command, place: Path
) -> None:
    write_model(place / "half", model_id=HALF, precision="bfloat16")
    for words in (("--engine", "onnxruntime"), ("--engine", "tensorflow"), ("--device", "cuda")):
        told = pomona("ingest", "photos", "half", *words)
        assert told.status == 1
        assert "use --engine openvino --device cpu, or start a new lake" in told.complaint
