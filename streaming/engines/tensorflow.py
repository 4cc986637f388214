"""Run the network with TensorFlow, the reference implementation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.model.metadata import ModelInfo


class TensorFlowEngine:
    """Run the network with TensorFlow. It is slow to start and large, and serves as the reference in tests."""

    name = "tensorflow"
    batch = 16

    def __init__(self, model_info: ModelInfo, model: bytes, threads: int) -> None:
        """Load `model.weights.h5`; raise ModelError if it belongs to another network."""
        from streaming.model.keras import tensorflow_function
        from streaming.model.weights import parse_weights

        self._width = model_info.width
        self._function = tensorflow_function(parse_weights(model, model_info.model_id), threads)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features (n, width) of images (n, size, size, 3)."""
        if not len(images):  # TensorFlow's convolutions reject an empty batch
            return np.empty((0, self._width), np.float32)
        return self._function(images)
