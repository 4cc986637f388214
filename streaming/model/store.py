"""The model store of a lake: find, create and read its model.

A model is ``<models>/<model id>/`` with `model.onnx`, `model.weights.h5` and `model.json`. `model.json` is written
last: without it there is no model.
"""

from __future__ import annotations

import hashlib
import logging

from streaming.errors import LakeError, ModelError
from streaming.images.decode import DECODER_REVISION
from streaming.model.backends import PRECISIONS
from streaming.model.export import JSON_FILE, KERAS_FILE, ONNX_FILE, export
from streaming.model.metadata import ModelInfo
from streaming.model.weights import IMAGENET, weights_sha256
from streaming.storage.open import open_storage

_log = logging.getLogger(__name__)


def find_model(models_uri: str) -> ModelInfo | None:
    """The model that a lake holds.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the lake's folder of models; it need not exist.

    Returns
    -------
    Extractor or None
        None where there is none, or only the beginning of one.

    Raises
    ------
    LakeError
        Where there are several.
    ModelError
        Where its `model.json` is broken, or that of another model.
    """
    storage = open_storage(models_uri)
    paths = sorted(f.path for f in storage.list(models_uri) if f.path.endswith(f"/{JSON_FILE}"))
    if len(paths) > 1:
        names = ", ".join(path.split("/")[-2] for path in paths)
        raise LakeError(f"{models_uri}: holds {names}, but a lake has one model; remove the others")
    if not paths:
        return None
    found = ModelInfo.from_json(storage.read(paths[0]), paths[0])
    if found.model_id != paths[0].split("/")[-2]:  # its files are found by this name
        raise ModelError(
            f"{paths[0]}: describes {found.model_id!r}, which does not match its folder name; restore it"
        )
    return found


def resolve_precision(models_uri: str, asked: str | None) -> str:
    """The precision that a lake has, or is to have.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the lake's folder of models; it need not exist.
    asked : str or None
        One of `streaming.model.backends.PRECISIONS`; None: whatever the lake has, or else the first of them.

    Raises
    ------
    LakeError
        Where the lake has another.
    """
    found = find_model(models_uri)
    if found is None:
        return asked or PRECISIONS[0]
    if asked not in (None, found.precision):
        raise LakeError(
            f"{models_uri}: its model {found.model_id} computes in {found.precision}, not {asked}; "
            "leave out --precision to keep it, or start a new lake"
        )
    return found.precision


def ensure_model(models_uri: str, weights: str | None, precision: str = PRECISIONS[0]) -> ModelInfo:
    """The lake's model, exported first where there is none; TensorFlow starts only then.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the lake's folder of models.
    weights : str or None
        ``imagenet``, ``random``, a path or a URI. None: whatever the lake has, or else
        ``imagenet``.
    precision : str
        Of a model that is made, see `resolve_precision`.

    Raises
    ------
    LakeError
        Where the lake's model has other weights, or belongs to another revision of the decoder.
    ModelError, WeightsUnavailable
        Where the weights cannot be used, or ImageNet's cannot be fetched.
    """
    found = find_model(models_uri)
    if found is None:
        extractor, files = export(IMAGENET if weights is None else weights, precision)
        for name, content in files.items():
            open_storage(models_uri).write(f"{models_uri}/{extractor.model_id}/{name}", content)
        _log.info("stored the model %s", extractor.model_id)
        return extractor
    if found.decoder_revision != DECODER_REVISION:
        raise LakeError(
            f"{models_uri}: its model {found.model_id} belongs to revision "
            f"{found.decoder_revision} of the decoder, not {DECODER_REVISION}; start a new lake"
        )
    if weights is not None:
        _check_weights(models_uri, found, weights)
    return found


def read_model(models_uri: str, extractor: ModelInfo, engine: str) -> bytes:
    """The file that an engine runs, checked against its hash.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the lake's folder of models.
    extractor : Extractor
        The lake's model.
    engine : str
        ``tensorflow`` takes `model.weights.h5`, all others take `model.onnx`.

    Raises
    ------
    ModelError
        Where the file is missing or damaged.
    """
    name, sha256 = ONNX_FILE, extractor.onnx_sha256
    if engine == "tensorflow":
        name, sha256 = KERAS_FILE, extractor.keras_sha256
    path = f"{models_uri}/{extractor.model_id}/{name}"
    try:
        content = open_storage(path).read(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; {_remedy(extractor)}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path}: damaged, its SHA-256 is not {sha256}; {_remedy(extractor)}")
    return content


def _check_weights(models_uri: str, found: ModelInfo, asked: str) -> None:
    """Compare by hash; by name only for ImageNet weights that are not on this machine."""
    sha256 = weights_sha256(asked)
    same = found.weights == asked if sha256 is None else found.weights_sha256 == sha256
    if not same:
        raise LakeError(
            f"{models_uri}: its model {found.model_id} was exported from the weights {found.weights} "
            f"(SHA-256 {found.weights_sha256[:12]}), not with {asked} "
            f"({sha256[:12] if sha256 else 'not fetched'}); leave out --weights to keep it, "
            "or start a new lake"
        )


def _remedy(extractor: ModelInfo) -> str:
    return f"restore it, or remove that folder and run again with --weights {extractor.weights}"
