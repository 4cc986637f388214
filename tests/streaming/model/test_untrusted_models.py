"""Tests for untrusted weights and models: validated before they are loaded, never executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from batch_pca.pca.moments import Moments
from batch_pca.refits.folder import RefitFolder, read_components, read_moments
from streaming.errors import ModelError, SnapshotError
from streaming.model.metadata import ModelInfo
from streaming.model.store import find_model, read_model
from streaming.model.weights import IMAGENET_FILE, IMAGENET_SHA256, parse_weights, read_weights


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._folder),)


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    folder = tmp_path / "executed"
    pickle.loads(pickle.dumps(Bomb(folder)))
    folder.rmdir()  # fails unless unpickling created it
    return Bomb(folder)


def test_pickle_and_keras_archive_are_rejected_as_weights(tmp_path: Path, bomb: Bomb) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        layer = {"class_name": "Lambda", "config": {"function": "executed"}}
        file.writestr("config.json", json.dumps({"class_name": "Sequential", "config": [layer]}))
    for name, content in (
        ("a.pkl", pickle.dumps(bomb)),
        ("a.h5", pickle.dumps(bomb)),
        ("a.keras", archive.getvalue()),
        ("a.h5", archive.getvalue()),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="is not an HDF5 file"):
            read_weights(str(tmp_path / name))
    assert not (tmp_path / "executed").exists()


def hdf5(path: Path, kernel: str) -> bytes:
    """Return an HDF5 weights file whose only tensor is of the given malicious kind."""
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["kernel"] = np.zeros((3, 3, 3, 32), np.float32)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["Conv1"]
        layer = file.create_group("Conv1")
        layer.attrs["weight_names"] = ["kernel"]
        if kernel == "a link to a file":
            layer["kernel"] = h5py.ExternalLink("other.h5", "kernel")
        elif kernel == "a soft link":
            layer["kernel"] = h5py.SoftLink("/elsewhere")
        elif kernel == "raw bytes of a file":
            raw = [("/etc/passwd", 0, 400)]
            layer.create_dataset("kernel", (100,), "float32", external=raw)
        elif kernel == "a view of a file":
            layout = h5py.VirtualLayout((3, 3, 3, 32), "float32")
            layout[:] = h5py.VirtualSource("other.h5", "kernel", (3, 3, 3, 32))
            layer.create_virtual_dataset("kernel", layout)
        else:
            layer.create_dataset("kernel", (2**40,), "float32", chunks=(2**10,))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        ("a link to a file", "'Conv1/kernel' is a link to another object"),
        ("a soft link", "'Conv1/kernel' is a link to another object"),
        ("raw bytes of a file", "'Conv1/kernel' is stored in another file"),
        ("a view of a file", "'Conv1/kernel' is stored in another file"),
        ("four terabytes", f"'Conv1/kernel' declares {2**40:,} values"),
    ],
)
def test_hdf5_with_external_or_oversized_data_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=problem) as caught:
        parse_weights(hdf5(tmp_path / "a.h5", kernel), "a.h5")
    assert "\n" not in str(caught.value)


def test_modified_imagenet_weights_are_rejected(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    content = bytearray((shared / "weights" / IMAGENET_FILE).read_bytes())
    content[-100] ^= 1  # in a tensor: Keras would load the file
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / IMAGENET_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=f"its SHA-256 is [0-9a-f]{{64}}, not {IMAGENET_SHA256}"):
        read_weights("imagenet")
    read_weights(str(tmp_path / "models" / IMAGENET_FILE))  # accepted as a custom file


def write_model(models: Path, folder: str, model_id: str) -> ModelInfo:
    values = {name: "" for name in ModelInfo.__annotations__}
    numbers = {"width": 1, "input_size": 1, "divisor": 1.0, "offset": 0.0, "decoder_revision": 1}
    found = values | numbers | {"model_id": model_id, "versions": {}, "quantization": {}}
    found["onnx_sha256"] = "0" * 64
    (models / folder).mkdir(parents=True)
    (models / folder / "model.json").write_text(json.dumps(found))
    (models / folder / "model.onnx").write_bytes(b"another network")
    return ModelInfo.from_json(json.dumps(found))


def test_model_file_with_wrong_sha256_is_not_loaded(tmp_path: Path) -> None:
    model_info = write_model(tmp_path / "models", "m", "m")
    with pytest.raises(ModelError, match="damaged, its SHA-256 is not 000"):
        read_model(f"file:{tmp_path}/models", model_info, "onnxruntime")


def test_model_id_with_path_traversal_is_rejected(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "m", "../../elsewhere")
    with pytest.raises(
        ModelError, match=r"'\.\./\.\./elsewhere', which does not match its folder name"
    ):
        find_model(f"file:{tmp_path}/models")


def test_refit_arrays_are_never_unpickled(tmp_path: Path, bomb: Bomb) -> None:
    hostile = io.BytesIO()
    arrays = dict.fromkeys(("components", "count", "shift", "total", "cross", "rounding"), bomb)
    np.savez(hostile, **{name: np.array([bomb], object) for name in arrays})
    (tmp_path / "components.npz").write_bytes(hostile.getvalue())
    assert read_components(RefitFolder(f"file:{tmp_path}"), 8) is None
    assert read_moments(RefitFolder(f"file:{tmp_path}")) is None
    with pytest.raises(SnapshotError, match="cannot read"):
        Moments.from_bytes(hostile.getvalue())
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"hello"])
def test_damaged_components_are_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "components.npz").write_bytes(content)
    assert read_components(RefitFolder(f"file:{tmp_path}"), 8) is None


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 7)),
        np.zeros(8),
        np.array(0.0),
        np.zeros((2, 8), np.float32),
        np.full((2, 8), np.nan),
    ],
)
def test_components_of_other_shape_type_or_values_are_ignored(
    tmp_path: Path, array: np.ndarray
) -> None:
    np.savez(tmp_path / "components.npz", components=array)
    assert read_components(RefitFolder(f"file:{tmp_path}"), 8) is None
