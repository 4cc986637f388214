"""The model store of a lake: find, create and read its model.

A model is a folder ``<models>/<model id>/`` with `model.onnx`, `model.weights.h5` and `model.json`. `model.json` is
written last: a folder without it is ignored.
"""

from __future__ import annotations

import hashlib
import logging

from streaming.errors import LakeError, ModelError
from streaming.images.decode import DECODER_REVISION, SUPPORTED_REVISIONS
from streaming.model.backends import PRECISIONS
from streaming.model.export import JSON_FILE, KERAS_FILE, ONNX_FILE, export
from streaming.model.known_models import check_known, record_model
from streaming.model.metadata import ModelInfo
from streaming.model.onnx_file import check_self_contained
from streaming.model.weights import IMAGENET, weights_sha256
from streaming.storage.interface import join_name
from streaming.storage.open import open_storage

_log = logging.getLogger(__name__)


def find_model(models_uri: str) -> ModelInfo | None:
    """Return the model of a lake, or None if there is none or its export was not completed.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the models folder of the lake; it need not exist.

    Raises
    ------
    LakeError
        If there are several models.
    ModelError
        If `model.json` is invalid, or belongs to another model.
    """
    storage = open_storage(models_uri)
    paths = sorted(f.path for f in storage.list(models_uri) if f.path.endswith(f"/{JSON_FILE}"))
    if len(paths) > 1:
        names = ", ".join(path.split("/")[-2] for path in paths)
        raise LakeError(
            f"{models_uri}: contains {names}, but a lake has one model; remove the others"
        )
    if not paths:
        return None
    found = ModelInfo.from_json(storage.read(paths[0], models_uri), paths[0])
    if found.model_id != paths[0].split("/")[-2]:  # the other files are located by model ID
        raise ModelError(
            f"{paths[0]}: describes {found.model_id!r}, which does not match its folder name; restore it"
        )
    return found


def resolve_precision(models_uri: str, requested: str | None, of_rows: str | None = None) -> str:
    """Return the precision of a lake's model or, if it has none, that of its rows, the requested or the default one.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the models folder of the lake; it need not exist.
    requested : str or None
        One of `streaming.model.backends.PRECISIONS`. None accepts the precision of the lake; for a new lake, it means
        the first of them.
    of_rows : str, optional
        Precision of the rows of a lake whose model was deleted.

    Raises
    ------
    LakeError
        If the lake has another precision.
    """
    found = find_model(models_uri)
    existing, subject = of_rows, "the deleted model of its rows"
    if found is not None:
        existing, subject = found.precision, f"its model {found.model_id}"
    if existing is None:
        return requested or PRECISIONS[0]
    if requested not in (None, existing):
        raise LakeError(
            f"{models_uri}: {subject} computes in {existing}, not {requested}; "
            "leave out --precision to keep it, or start a new lake"
        )
    return existing


def ensure_model(
    models_uri: str,
    weights: str | None,
    precision: str = PRECISIONS[0],
    revision: int = DECODER_REVISION,
) -> ModelInfo:
    """Return the model of a lake. If it has none, export one first; only then is TensorFlow imported.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the models folder of the lake.
    weights : str or None
        ``imagenet``, ``random``, a path or a URI. None accepts the weights of the lake; for a new lake, it means
        ``imagenet``.
    precision : str
        Precision of a new model, see `resolve_precision`.
    revision : int
        Decoder revision of a new model. Rows that a deleted model computed have another one than new lakes.

    Raises
    ------
    LakeError
        If the model of the lake has other weights, or requires an unsupported decoder revision.
    ModelError, WeightsUnavailable
        If the weights cannot be used, or the ImageNet weights cannot be downloaded.
    """
    found = find_model(models_uri)
    if found is None:
        _check_revision(models_uri, "the features table", revision)
        model_info, files = export(IMAGENET if weights is None else weights, precision, revision)
        for name, content in files.items():
            open_storage(models_uri).write(_file(models_uri, model_info.model_id, name), content)
        record_model(models_uri, model_info)
        _log.info("stored the model %s", model_info.model_id)
        return model_info
    _check_revision(models_uri, f"its model {found.model_id}", found.decoder_revision)
    if weights is not None:
        _check_weights(models_uri, found, weights)
    return found


def read_model(models_uri: str, model_info: ModelInfo, engine: str) -> bytes:
    """Read the model file for an engine, and check it before an engine loads it.

    Its SHA-256 must be that of `model.json`, the model must be the one that this user ran before in this lake, see
    `streaming.model.known_models`, and the file must not refer to other files.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the models folder of the lake.
    model_info : ModelInfo
        The model of the lake.
    engine : str
        ``tensorflow`` reads `model.weights.h5`, all other engines read `model.onnx`.

    Raises
    ------
    ModelError
        If the file is missing or damaged, refers to other files, or belongs to another model than before.
    """
    name, sha256 = ONNX_FILE, model_info.onnx_sha256
    if engine == "tensorflow":
        name, sha256 = KERAS_FILE, model_info.keras_sha256
    path = _file(models_uri, model_info.model_id, name)
    try:
        content = open_storage(path).read(path, models_uri)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; {_remedy(model_info)}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path}: damaged, its SHA-256 is not {sha256}; {_remedy(model_info)}")
    if name == ONNX_FILE:
        check_self_contained(content, path)
    check_known(models_uri, model_info)
    return content


def _file(models_uri: str, model_id: str, name: str) -> str:
    return f"{join_name(models_uri, model_id, 'model')}/{name}"


def _check_weights(models_uri: str, found: ModelInfo, weights: str) -> None:
    """Raise LakeError if a model has other weights: compared by SHA-256, or by name if they are not available."""
    sha256 = weights_sha256(weights)
    same = found.weights == weights if sha256 is None else found.weights_sha256 == sha256
    if not same:
        raise LakeError(
            f"{models_uri}: its model {found.model_id} was exported from the weights {found.weights} "
            f"(SHA-256 {found.weights_sha256[:12]}), not with {weights} "
            f"({sha256[:12] if sha256 else 'not downloaded'}); leave out --weights to keep it, "
            "or start a new lake"
        )


def _check_revision(models_uri: str, subject: str, revision: int) -> None:
    if revision not in SUPPORTED_REVISIONS:
        raise LakeError(
            f"{models_uri}: {subject} requires decoder revision {revision}, but this version of Pomona supports "
            f"{' and '.join(map(str, SUPPORTED_REVISIONS))}; start a new lake"
        )


def _remedy(model_info: ModelInfo) -> str:
    return f"restore it, or delete the folder of the model and rerun with --weights {model_info.weights}"
