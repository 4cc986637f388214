"""Metadata of the feature extractor of a lake: the content of `model.json`.

Width, input size and scaling are read from here, not from constants of MobileNetV2. The module imports neither
Keras nor an engine, because its objects are pickled to the workers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from streaming.errors import ModelError
from streaming.images.decode import DecodeSettings
from streaming.storage.documents import (
    InvalidDocumentError,
    Optional,
    Schema,
    Values,
    parse_document,
)

INPUT_NAME = "images"
OUTPUT_NAME = "features"

_JSON_TYPES: Mapping[str, Schema] = {
    "str": str,
    "int": int,
    "float": float,
    "dict[str, str]": Values(str),
}
_MAX_WIDTH, _MAX_INPUT_SIZE = 2**20, 2**14
# Abbreviations of layer names in model ids.
_LAYER_ABBREVIATIONS = {"global_average_pooling2d": "gap"}


@dataclass(frozen=True)
class ModelInfo:
    """A network up to one layer, and the scaling of its input.

    Attributes
    ----------
    model_id : str
        See `make_model_id`. Rows with different IDs are never fitted together.
    architecture : str
        The network, ``MobileNetV2``.
    weights : str
        Name of the weights: ``imagenet``, ``random``, or a file name.
    weights_sha256 : str
        SHA-256 of the weights file, or of the tensors' bytes if there is no file.
    layer : str
        Keras name of the layer whose output is the features.
    width : int
        Number of features.
    input_size : int
        Height and width of the input in pixels.
    divisor, offset : float
        A pixel value v in 0..255 is scaled to ``v / divisor + offset``.
    decoder_revision : int
        Revision of `streaming.images.decode` that computes the features: the one that was current when the model was
        exported.
    precision : str
        Data type of the computation: ``float32``, ``bfloat16`` or ``int8``.
    onnx_sha256, keras_sha256 : str
        SHA-256 of `model.onnx` and of `model.weights.h5`.
    versions : dict of str to str
        Versions of tensorflow, keras, tf2onnx and onnx at the export, and the ONNX opset; with ``int8``, also of
        onnxruntime, which quantized it.
    created_at : str
        Time of the export, ISO 8601 in UTC.
    quantization : dict of str to str
        With ``int8``, the recipe and the calibration of `model.onnx`; otherwise empty. `model.weights.h5` contains
        float32 in any case.
    """

    model_id: str
    architecture: str
    weights: str
    weights_sha256: str
    layer: str
    width: int
    input_size: int
    divisor: float
    offset: float
    decoder_revision: int
    precision: str
    onnx_sha256: str
    keras_sha256: str
    versions: dict[str, str] = field(hash=False)
    created_at: str
    quantization: dict[str, str] = field(default_factory=dict, hash=False)

    def decode_settings(self, **limits: int) -> DecodeSettings:
        """Return the settings with which images are decoded for this model.

        Parameters
        ----------
        limits : int
            Limits for the file: other fields of `streaming.images.decode.DecodeSettings`.
        """
        return DecodeSettings(
            size=self.input_size,
            divisor=self.divisor,
            offset=self.offset,
            revision=self.decoder_revision,
            **limits,
        )

    def to_json(self) -> str:
        """Return the content of `model.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, location: str = "model.json") -> ModelInfo:
        """Parse `model.json`. Unknown fields, written by a later version of Pomona, are ignored.

        Parameters
        ----------
        text : str or bytes
            Content of the file.
        location : str
            Location of the file in error messages.

        Raises
        ------
        ModelError
            If the content is not valid.
        """
        schema = {known.name: _JSON_TYPES[str(known.type)] for known in fields(cls)}
        # Missing in models of earlier versions.
        schema["quantization"] = Optional(schema["quantization"])
        try:
            document = parse_document(text, schema)
        except InvalidDocumentError as error:
            raise _invalid(location, f"is broken ({error})") from error
        found = cls(**{name: document[name] for name in schema if document.get(name) is not None})
        if not (0 < found.width <= _MAX_WIDTH and 0 < found.input_size <= _MAX_INPUT_SIZE):
            raise _invalid(location, "has a width or an input_size that no network has")
        if not found.divisor:
            raise _invalid(location, "has a divisor of 0")
        return found


def make_model_id(
    weights_sha256: str,
    input_size: int,
    layer: str,
    decoder_revision: int,
    precision: str,
    quantized_sha256: str | None = None,
) -> str:
    """Return an ID for everything that the features of a model depend on.

    Versions of the exporting packages and the name of the weights are not included, so the same weights file always
    results in the same id. A quantized network depends on the versions, so its ID contains the start of its SHA-256.

    Returns
    -------
    str
        For example ``mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32`` or
        ``mobilenetv2-224-71e4c4ec4aa2-gap-d1-int8-449e955c``.
    """
    layer_name = _LAYER_ABBREVIATIONS.get(layer, layer)
    parts = ["mobilenetv2", str(input_size), weights_sha256[:12], layer_name]
    parts += [f"d{decoder_revision}", precision]
    return "-".join([*parts, quantized_sha256[:8]] if quantized_sha256 else parts)


def revision_and_precision(model_id: str) -> tuple[int, str] | None:
    """Return the decoder revision and the precision in a model ID; None if it has none."""
    match = re.search(r"-d(\d+)-([a-z]\w*)(-[0-9a-f]{8})?$", model_id)
    return (int(match[1]), match[2]) if match else None


def _invalid(location: str, problem: str) -> ModelError:
    return ModelError(f"{location}: {problem}; restore the file, or start a new lake")
