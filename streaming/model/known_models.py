"""The models that this user ran before, one record per lake, outside of the lake: trust on first use.

Everything in a lake can be replaced together, also the hashes in `model.json`. Each user therefore keeps a record of
the model of each lake in the configuration folder, as SSH does with host keys, and a model that differs from the record
is not loaded (docs/decisions/0067-known-models.md).
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from streaming.cache_dir import config_folder
from streaming.errors import ModelError
from streaming.model.metadata import ModelInfo
from streaming.storage.interface import TransientError, local_uri
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

# What the features depend on. The rest of `model.json` describes the export.
_PINNED = (
    "model_id",
    "layer",
    "width",
    "input_size",
    "divisor",
    "offset",
    "decoder_revision",
    "precision",
    "onnx_sha256",
    "keras_sha256",
)


def record_model(models_uri: str, model_info: ModelInfo) -> None:
    """Record a model that this process exported, instead of an earlier one of the same lake."""
    if file := record_file(models_uri):
        _write(file, models_uri, model_info)


def check_known(models_uri: str, model_info: ModelInfo) -> None:
    """Check that a model is the one that this user ran before in this lake; record it at its first use.

    Parameters
    ----------
    models_uri : str
        Normalized URI of the models folder of the lake.
    model_info : ModelInfo
        The model of the lake.

    Raises
    ------
    ModelError
        If it is another one, or the record cannot be read.
    """
    file = record_file(models_uri)
    if file is None:
        return
    try:
        recorded = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        _write(file, models_uri, model_info)
        return
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file}: the record of the model of {models_uri} cannot be read ({error}); delete it to trust the model "
            "that is there now"
        ) from error
    if recorded != _record(models_uri, model_info):
        raise ModelError(
            f"{models_uri}: its model {model_info.model_id} is not the one that this user ran before; restore it, or "
            f"delete {file} if you trust the model that is there now"
        )


def record_file(models_uri: str) -> Path | None:
    """Return the path of the record for a lake; None for a user without a configuration folder."""
    folder = config_folder()
    name = hashlib.sha256(models_uri.encode(errors="surrogateescape")).hexdigest()[:16]
    return folder / "models" / f"{name}.json" if folder else None


def _record(models_uri: str, model_info: ModelInfo) -> dict[str, str | int | float]:
    return {"models": models_uri} | {name: getattr(model_info, name) for name in _PINNED}


def _write(file: Path, models_uri: str, model_info: ModelInfo) -> None:
    content = json.dumps(_record(models_uri, model_info), indent=2) + "\n"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        uri = local_uri(str(file))
        open_storage(uri).write(uri, content.encode())
    except (OSError, TransientError) as error:  # a read-only home folder, as in a container
        log.info("%s: the model of %s is not recorded (%s)", file, models_uri, error)
