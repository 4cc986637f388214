"""Metadata of a lake's feature extractor: the content of `model.json`.

Width, input size and scaling are read from here, not from constants of MobileNetV2. The module imports neither
Keras nor an engine, because its objects are pickled to the workers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from streaming.errors import ModelError

INPUT_NAME = "images"
OUTPUT_NAME = "features"

_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "dict[str, str]": (dict,),
}
# How the id of a model names the layer whose output it gives.
_LAYER_WORDS = {"global_average_pooling2d": "gap"}


@dataclass(frozen=True)
class ModelInfo:
    """A network cut at one layer, and how images are fed to it.

    Attributes
    ----------
    model_id : str
        Stable name, see `make_model_id`; rows of different ids never meet in one fit.
    architecture : str
        The network, ``MobileNetV2``.
    weights : str
        What a person calls the weights: ``imagenet``, ``random``, or a file's name.
    weights_sha256 : str
        SHA-256 of the file of weights, or of the tensors' bytes where there is no file.
    layer : str
        Keras's name of the layer whose output is the features.
    width : int
        Number of features.
    input_size : int
        Height and width of the input, in pixels.
    divisor, offset : float
        A pixel value v in 0..255 is fed as ``v / divisor + offset``.
    decoder_revision : int
        Revision of `streaming.images.decode` that the features belong to.
    precision : str
        Type of the network's arithmetic, ``float32`` or ``bfloat16``; the files hold float32.
    onnx_sha256, keras_sha256 : str
        SHA-256 of `model.onnx` and of `model.weights.h5`.
    versions : dict of str to str
        Versions of tensorflow, keras, tf2onnx and onnx that exported it, and the ONNX opset.
    created_at : str
        Time of the export, ISO 8601 in UTC.
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

    def to_json(self) -> str:
        """Text of `model.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "model.json") -> ModelInfo:
        """Read `model.json`; fields of a later version of Pomona are passed over.

        Parameters
        ----------
        text : str or bytes
            Content of the file.
        where : str
            Its location, for the message of an error.

        Raises
        ------
        ModelError
            For anything but the JSON of an extractor.
        """
        try:
            loaded = json.loads(text)
        except ValueError as error:
            raise _broken(where, f"is not JSON ({error})") from error
        if not isinstance(loaded, dict):
            raise _broken(where, "is not the description of a model")
        values: dict[str, Any] = {}
        for known in fields(cls):
            value = loaded.get(known.name)
            if not isinstance(value, _KINDS[str(known.type)]) or isinstance(value, bool):
                raise _broken(where, f"lacks a valid {known.name!r}")
            values[known.name] = value
        return cls(**values)


def make_model_id(
    weights_sha256: str, input_size: int, layer: str, decoder_revision: int, precision: str
) -> str:
    """Name a model by all that its features depend on, and nothing else.

    Neither the exporting program's version nor the name of the weights is in it: the same file
    gives the same id.

    Returns
    -------
    str
        Like ``mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32``.
    """
    layer_word = _LAYER_WORDS.get(layer, layer)
    words = (weights_sha256[:12], layer_word, f"d{decoder_revision}", precision)
    return "-".join(("mobilenetv2", str(input_size), *words))


def _broken(where: str, what: str) -> ModelError:
    return ModelError(f"{where}: {what}; restore the file, or start a new lake")
