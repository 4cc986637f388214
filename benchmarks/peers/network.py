"""What the peers share that their users would take from a tutorial: pixels by Pillow, a session of ONNX Runtime."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

INPUT, OUTPUT, SIZE = "images", "features", 224


def pixels(content: bytes) -> NDArray[np.float32]:
    """An image as MobileNetV2 takes it: (224, 224, 3) float32 in [-1, 1]."""
    with Image.open(io.BytesIO(content)) as image:
        square = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(square, np.float32) / np.float32(127.5) - np.float32(1)


def onnx_session(model: str | bytes) -> Any:
    """ONNX Runtime with one thread: one worker a core uses the cores best."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def features(session: Any, contents: list[bytes]) -> NDArray[np.float32]:
    """Features (n, 1280) of the bytes of n images."""
    images = np.stack([pixels(content) for content in contents])
    found: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
    return found


def files_below(folder: str) -> list[str]:
    """All files of a folder tree, sorted."""
    return sorted(str(file) for file in Path(folder).rglob("*") if file.is_file())
