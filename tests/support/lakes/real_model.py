"""The real network, exported once for all tests that need it, on each supported backend."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from streaming.engines.registry import Engine, create_engine, unavailable_reason
from streaming.model.backends import TOLERANCES, Backend, supported_backends
from streaming.model.export import JSON_FILE, KERAS_FILE, ONNX_FILE, export
from streaming.model.metadata import ModelInfo
from streaming.model.weights import IMAGENET_FILE
from support.processes.shared_folders import created_once

FLOAT32 = supported_backends(precision="float32")
BFLOAT16 = supported_backends(precision="bfloat16")
(INT8,) = supported_backends(precision="int8")
#: The default backend.
DEFAULT = next(iter(TOLERANCES))


def weights_file(shared: Path) -> Path:
    """Return the path of the ImageNet weights in the shared test data."""
    return shared / "weights" / IMAGENET_FILE


def exported_models(weights: str, precision: str = "float32") -> Path:
    """Return a lake's `models/` with these weights, exported once per run of pytest. Never change it."""

    def create(models: Path) -> None:
        model_info, files = export(weights, precision)
        # Here, and not in test_export.py, which reads what this call has returned.
        assert list(files) == [ONNX_FILE, KERAS_FILE, JSON_FILE]
        assert ModelInfo.from_json(files[JSON_FILE]) == model_info
        folder = models / model_info.model_id
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)

    return created_once(f"models-{Path(weights).stem}-{precision}", create)


@cache
def exported(weights: str, precision: str = "float32") -> tuple[ModelInfo, dict[str, bytes]]:
    """Return what `export` returns, of one call for the same arguments per run of pytest."""
    (folder,) = exported_models(weights, precision).iterdir()
    files = {name: (folder / name).read_bytes() for name in (ONNX_FILE, KERAS_FILE, JSON_FILE)}
    return ModelInfo.from_json(files[JSON_FILE]), files


def engine(backend: Backend, weights: str) -> Engine:
    """Return an engine with two threads and these weights; skip the test if the backend is not available."""
    if reason := unavailable_reason(backend):
        pytest.skip(reason)
    return _engine(backend, weights)


@cache
def _engine(backend: Backend, weights: str) -> Engine:
    model_info, files = exported(weights, "int8" if backend == INT8 else "float32")
    model = files[KERAS_FILE if backend.engine == "tensorflow" else ONNX_FILE]
    gpu = 0 if backend.device == "cuda" else None
    return create_engine(
        backend.engine, replace(model_info, precision=backend.precision), model, 2, gpu
    )


def pixels(file: Path) -> NDArray[np.float32]:
    """Return an image as input for MobileNetV2, decoded by Pillow alone: (224, 224, 3) float32 in [-1, 1]."""
    with Image.open(file) as image:
        resized = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / np.float32(127.5) - np.float32(1)


def features(backend: Backend, weights: str, files: list[Path]) -> NDArray[np.float32]:
    """Return the features (n, 1280) of image files, computed in batches of 32."""
    batches = [files[i : i + 32] for i in range(0, len(files), 32)]
    run = engine(backend, weights).run
    return np.concatenate([run(np.stack([pixels(f) for f in batch])) for batch in batches])


def nearest_neighbor_accuracy(found: NDArray[np.float32], files: list[Path]) -> float:
    """Return the share of rotated images (``r_…``) whose nearest other image, by cosine, has the same label."""
    labels = np.array([file.parent.name for file in files])
    rotated = np.array([file.name.startswith("r_") for file in files])
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    nearest = (found[rotated] @ found[~rotated].T).argmax(axis=1)
    return float((labels[~rotated][nearest] == labels[rotated]).mean())
