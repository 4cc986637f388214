"""Run the network with TensorFlow, the reference implementation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.model.metadata import ModelInfo


class TensorFlowEngine:
    """TensorFlow, slow to start and heavy: what the other engines are tested against."""

    name = "tensorflow"
    batch = 16

    def __init__(self, extractor: ModelInfo, model: bytes, threads: int) -> None:
        """Load `model.weights.h5`; ModelError where it holds another network."""
        from streaming.model.keras import tensorflow_function
        from streaming.model.weights import parse_weights

        self._width = extractor.width
        self._function = tensorflow_function(parse_weights(model, extractor.model_id), threads)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, width) of images (n, size, size, 3)."""
        if not len(images):  # TensorFlow's convolutions refuse an empty batch
            return np.empty((0, self._width), np.float32)
        return self._function(images)
