"""Code shared by the peers: decoding with Pillow and an ONNX Runtime session, as in their tutorials."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

INPUT, OUTPUT, SIZE = "images", "features", 224


def pixels(content: bytes) -> NDArray[np.float32]:
    """Decode an image for MobileNetV2: (224, 224, 3) float32 in [-1, 1]."""
    with Image.open(io.BytesIO(content)) as image:
        resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / np.float32(127.5) - np.float32(1)


def onnx_session(model: str | bytes) -> Any:
    """Create a single-threaded ONNX Runtime session, because one worker per core is fastest."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def features(session: Any, contents: list[bytes]) -> NDArray[np.float32]:
    """Return the features (n, 1280) of n encoded images."""
    images = np.stack([pixels(content) for content in contents])
    vectors: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
    return vectors


def files_below(folder: str) -> list[str]:
    """Return all files below a folder, sorted."""
    return sorted(str(file) for file in Path(folder).rglob("*") if file.is_file())
