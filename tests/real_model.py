"""The real network, exported once for all tests that need it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streaming.engines import Engine, create_engine
from streaming.export import KERAS_FILE, ONNX_FILE, export
from streaming.extractor import Extractor
from streaming.weights import IMAGENET_FILE


def weights_file(shared: Path) -> Path:
    """The trained weights among the shared data."""
    return shared / "weights" / IMAGENET_FILE


@cache
def exported(weights: str) -> tuple[Extractor, dict[str, bytes]]:
    """`export`, run once for each weights."""
    return export(weights)


@cache
def engine(name: str, weights: str) -> Engine:
    """An engine with two threads that holds the network with these weights."""
    extractor, files = exported(weights)
    model = files[KERAS_FILE if name == "tensorflow" else ONNX_FILE]
    return create_engine(name, extractor, model, threads=2)


def pixels(file: Path) -> NDArray[np.float32]:
    """An image as MobileNetV2 takes it, read by Pillow alone: (224, 224, 3) float32 in [-1, 1]."""
    with Image.open(file) as image:
        resized = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / np.float32(127.5) - np.float32(1)


def features(name: str, weights: str, files: list[Path]) -> NDArray[np.float32]:
    """Features (n, 1280) of image files, in batches of 32."""
    batches = [files[i : i + 32] for i in range(0, len(files), 32)]
    run = engine(name, weights).run
    return np.concatenate([run(np.stack([pixels(f) for f in batch])) for batch in batches])
