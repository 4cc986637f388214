"""Tests for `streaming.model.weights` and `streaming.model.hdf5`: read and validate weights without TensorFlow."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from streaming.errors import ModelError
from streaming.model.mobilenet_v2 import random_tensors, tensors_sha256
from streaming.model.weights import (
    IMAGENET_FILE,
    WeightsUnavailable,
    cached_imagenet,
    parse_weights,
    read_weights,
    weights_sha256,
)
from support.lakes.real_model import weights_file

IMAGENET_FILE_SHA256 = "71e4c4ec4aa24c9c951b9265d6de42e1336dcf614c2214fa6a989208615e232c"


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


def _edited(file: Path, name: str, value: object) -> bytes:
    """Return the weights file with one tensor replaced, or deleted if the value is None."""
    content = io.BytesIO(file.read_bytes())
    with h5py.File(content, "r+") as editable:
        del editable[name]
        if value is not None:
            editable[name] = value
    return content.getvalue()


def test_weights_have_file_name_and_sha256(shared: Path) -> None:
    weights = read_weights(str(weights_file(shared)))
    assert (weights.name, weights.sha256) == (IMAGENET_FILE, IMAGENET_FILE_SHA256)


def test_tensors_match_file(shared: Path) -> None:
    tensors = read_weights(f"file:{weights_file(shared)}").tensors
    assert len(tensors) == 104
    with h5py.File(weights_file(shared)) as file:
        for name in ("Conv1", "block_7_project", "Conv_1"):
            np.testing.assert_array_equal(tensors[name][0], file[f"{name}/{name}/kernel"][()])
        for i, part in enumerate(("gamma", "beta", "moving_mean", "moving_variance")):
            np.testing.assert_array_equal(
                tensors["Conv_1_bn"][i], file[f"Conv_1_bn/Conv_1_bn/{part}"][()]
            )


def test_random_weights_need_no_file() -> None:
    weights = read_weights("random")
    assert (weights.name, weights.sha256) == ("random", tensors_sha256(random_tensors()))


def test_imagenet_is_read_from_keras_cache(shared: Path, keras_home: Path) -> None:
    shutil.copy(weights_file(shared), keras_home)
    assert cached_imagenet() == keras_home / IMAGENET_FILE
    assert (read_weights("imagenet").name, weights_sha256("imagenet")) == (
        "imagenet",
        IMAGENET_FILE_SHA256,
    )


def test_imagenet_without_cache_is_unavailable(keras_home: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="--weights PATH or --weights random"):
        read_weights("imagenet")
    assert weights_sha256("imagenet") is None


def test_invalid_cached_file_is_reported_with_remedy(keras_home: Path) -> None:
    (keras_home / IMAGENET_FILE).write_bytes(b"<html>log in first</html>")
    with pytest.raises(ModelError, match=r"no_top\.h5 \(Keras's cache: delete it"):
        read_weights("imagenet")


def test_missing_file_and_folder_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.h5: weights file not found"):
        read_weights(str(tmp_path / "absent.h5"))
    with pytest.raises(ModelError, match="cannot be read"):
        read_weights(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 a .keras archive"])
def test_other_file_format_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.h5: is not an HDF5 file; give a Keras \.h5"):
        read_weights(str(tmp_path / "a.h5"))


@pytest.mark.parametrize("length", [16, 5_000, 5_000_000, 9_421_703])
def test_truncated_file_is_rejected_in_one_line(shared: Path, length: int) -> None:
    content = weights_file(shared).read_bytes()[:length]
    with pytest.raises(ModelError, match=r"^a\.h5: truncated") as caught:
        parse_weights(content, "a.h5")
    assert "\n" not in str(caught.value)


def test_hdf5_without_weights_is_rejected() -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["table"] = np.zeros(3)
    with pytest.raises(ModelError, match=r"^a\.h5: .*not a Keras weights file"):
        parse_weights(content.getvalue(), "a.h5")


def test_narrower_mobilenet_is_rejected_with_first_difference(shared: Path) -> None:
    narrow = _edited(weights_file(shared), "Conv1/Conv1/kernel", np.zeros((3, 3, 3, 16)))
    with pytest.raises(ModelError, match=r"another network: Conv1 \(3, 3, 3, 16\)"):
        parse_weights(narrow, "a.h5")


def test_missing_tensor_is_rejected(shared: Path) -> None:
    broken = _edited(weights_file(shared), "Conv_1_bn/Conv_1_bn/beta", None)
    with pytest.raises(ModelError, match="beta"):
        parse_weights(broken, "a.h5")


def test_nan_value_is_rejected(shared: Path) -> None:
    beta = np.zeros(1280, np.float32)
    beta[7] = np.nan
    broken = _edited(weights_file(shared), "Conv_1_bn/Conv_1_bn/beta", beta)
    with pytest.raises(ModelError, match="Conv_1_bn contains values that are not finite"):
        parse_weights(broken, "a.h5")


def test_weights_sha256_covers_whole_file(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"anything")
    expected = hashlib.sha256(b"anything").hexdigest()
    assert weights_sha256(str(tmp_path / "a.h5")) == expected


def test_invalid_file_is_rejected_before_tensorflow_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom streaming.model.export import export\nfrom streaming.errors import ModelError\n"
        "try:\n    export(sys.argv[1])\nexcept ModelError:\n    print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "absent.h5")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
