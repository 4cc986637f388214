"""The real network, exported once for all tests that need it, in each of the ways that run it."""

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
from streaming.model.export import KERAS_FILE, ONNX_FILE, export
from streaming.model.metadata import ModelInfo
from streaming.model.weights import IMAGENET_FILE

FLOAT32 = supported_backends(None, None, "float32")
BFLOAT16 = supported_backends(None, None, "bfloat16")
#: The way that everything takes unless asked for another.
DEFAULT = next(iter(TOLERANCES))


def weights_file(shared: Path) -> Path:
    """The trained weights among the shared data."""
    return shared / "weights" / IMAGENET_FILE


@cache
def exported(weights: str) -> tuple[ModelInfo, dict[str, bytes]]:
    """`export`, run once for each weights."""
    return export(weights)


def engine(way: Backend, weights: str) -> Engine:
    """An engine with two threads that holds the network with these weights; skips where the machine has none."""
    if why := unavailable_reason(way):
        pytest.skip(why)
    return _engine(way, weights)


@cache
def _engine(way: Backend, weights: str) -> Engine:
    extractor, files = exported(weights)
    model = files[KERAS_FILE if way.engine == "tensorflow" else ONNX_FILE]
    gpu = 0 if way.device == "cuda" else None
    return create_engine(way.engine, replace(extractor, precision=way.precision), model, 2, gpu)


def pixels(file: Path) -> NDArray[np.float32]:
    """An image as MobileNetV2 takes it, read by Pillow alone: (224, 224, 3) float32 in [-1, 1]."""
    with Image.open(file) as image:
        resized = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / np.float32(127.5) - np.float32(1)


def features(way: Backend, weights: str, files: list[Path]) -> NDArray[np.float32]:
    """Features (n, 1280) of image files, in batches of 32."""
    batches = [files[i : i + 32] for i in range(0, len(files), 32)]
    run = engine(way, weights).run
    return np.concatenate([run(np.stack([pixels(f) for f in batch])) for batch in batches])


def nearest_neighbor_accuracy(found: NDArray[np.float32], files: list[Path]) -> float:
    """Share of the rotated images (``r_…``) whose nearest image of the plain series, by cosine, has their label."""
    labels = np.array([file.parent.name for file in files])
    rotated = np.array([file.name.startswith("r_") for file in files])
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    nearest = (found[rotated] @ found[~rotated].T).argmax(axis=1)
    return float((labels[~rotated][nearest] == labels[rotated]).mean())
