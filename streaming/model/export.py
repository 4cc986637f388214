"""Export MobileNetV2 with given weights to the files of a model."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from datetime import UTC, datetime

from streaming.errors import UsageError
from streaming.images.decode import DECODER_REVISION
from streaming.model.backends import INT8, PRECISIONS
from streaming.model.keras import ConvertedModel, convert, fetch_imagenet
from streaming.model.metadata import ModelInfo, make_model_id
from streaming.model.mobilenet_v2 import ARCHITECTURE, INPUT_SIZE, LAYER, WIDTH
from streaming.model.quantize import quantize
from streaming.model.weights import IMAGENET, Weights, cached_imagenet, read_weights

ONNX_FILE = "model.onnx"
KERAS_FILE = "model.weights.h5"
JSON_FILE = "model.json"

_log = logging.getLogger(__name__)


def export(
    weights: str, precision: str = PRECISIONS[0], revision: int = DECODER_REVISION
) -> tuple[ModelInfo, dict[str, bytes]]:
    """Export MobileNetV2 up to its global average pooling layer. Takes about 15 s, including TensorFlow's start.

    A quantized network takes half a minute more.

    Parameters
    ----------
    weights : str
        ``imagenet``, ``random``, or the path or URI of a Keras HDF5 file.
    precision : str
        One of `streaming.model.backends.PRECISIONS`. It is part of the model id. `model.onnx` contains float32, unless
        the precision is ``int8``.
    revision : int
        Decoder revision, one of `streaming.images.decode.SUPPORTED_REVISIONS`.

    Returns
    -------
    model_info : ModelInfo
        The content of `model.json`.
    files : dict of str to bytes
        `model.onnx`, `model.weights.h5` and `model.json`. Write them in this order: a model without `model.json` is
        ignored, so readers never see an incomplete one.

    Raises
    ------
    WeightsUnavailable
        If the ImageNet weights are not cached and cannot be downloaded.
    ModelError
        If the weights file cannot be used.
    UsageError
        For an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: choose one of {', '.join(PRECISIONS)}")
    if weights == IMAGENET and not cached_imagenet().exists():
        fetch_imagenet()
    loaded = read_weights(weights)
    _log.info("exporting %s with weights %s", ARCHITECTURE, loaded.name)
    converted = convert(loaded.tensors)
    model_info = _model_info(loaded, precision, revision, converted)
    network = converted.onnx
    if precision == INT8:
        _log.info("quantizing %s", ARCHITECTURE)
        quantized = quantize(network, model_info.decode_settings())
        network, sha256 = quantized.onnx, hashlib.sha256(quantized.onnx).hexdigest()
        model_info = replace(
            model_info,
            model_id=make_model_id(loaded.sha256, INPUT_SIZE, LAYER, revision, precision, sha256),
            onnx_sha256=sha256,
            versions=converted.versions | quantized.versions,
            quantization=quantized.quantization,
        )
    files = {
        ONNX_FILE: network,
        KERAS_FILE: converted.keras,
        JSON_FILE: model_info.to_json().encode(),
    }
    return model_info, files


def _model_info(
    weights: Weights, precision: str, revision: int, converted: ConvertedModel
) -> ModelInfo:
    return ModelInfo(
        model_id=make_model_id(weights.sha256, INPUT_SIZE, LAYER, revision, precision),
        architecture=ARCHITECTURE,
        weights=weights.name,
        weights_sha256=weights.sha256,
        layer=LAYER,
        width=WIDTH,
        input_size=INPUT_SIZE,
        divisor=127.5,
        offset=-1.0,
        decoder_revision=revision,
        precision=precision,
        onnx_sha256=hashlib.sha256(converted.onnx).hexdigest(),
        keras_sha256=hashlib.sha256(converted.keras).hexdigest(),
        versions=converted.versions,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
