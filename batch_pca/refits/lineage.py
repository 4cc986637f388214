"""Lineage of a refit: from its CSV back to the version of the features, the model and its weights.

It is published as ``refit.json`` in the folder of the refit, so that a copy of the folder still documents its origin.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.folder import RefitFolder
from streaming.errors import LakeError, ModelError
from streaming.model.metadata import ModelInfo
from streaming.storage.interface import join_name
from streaming.storage.open import open_storage

LINEAGE_FILE = "refit.json"


def lineage(row: RefitRow) -> dict[str, Any]:
    """Return the lineage of a refit as a JSON document.

    Returns
    -------
    dict
        ``refit_id``, ``lake``, ``features_version``, ``features_timestamp``, ``model_id``, ``model`` (content of its
        ``model.json``, including the hash of the weights; None if the lake no longer contains it),
        ``parameters`` (components or variance, fit_on), ``rows``, ``rows_fitted``, ``components``,
        ``explained_variance_ratio``, ``statistics``, ``statistics_from``, ``drift`` (None without an earlier refit),
        ``created_at``, ``pomona_version``.
    """
    return {
        "refit_id": row.refit_id,
        "lake": row.lake.root,
        "features_version": row.features_version,
        "features_timestamp": row.features_timestamp.isoformat(),
        "model_id": row.model_id,
        "model": _model(row),
        "parameters": row.parse("parameters"),
        "rows": row.rows,
        "rows_fitted": row.rows_fitted,
        "components": row.components,
        "explained_variance_ratio": list(row.explained_variance_ratio),
        "statistics": row.statistics,
        "statistics_from": row.statistics_from,
        "drift": drift_json(row),
        "created_at": row.created_at.isoformat(),
        "pomona_version": row.pomona_version,
    }


def write_lineage(folder: RefitFolder, row: RefitRow, csv_sha256: str) -> None:
    """Write ``refit.json``. It includes the hash of the CSV, which identifies a copy of the CSV alone."""
    document = lineage(row) | {"csv_sha256": csv_sha256}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    folder.write(LINEAGE_FILE, f"{text}\n".encode())


def _model(row: RefitRow) -> dict[str, Any] | None:
    uri = f"{join_name(row.lake.models, row.model_id, 'model')}/model.json"
    try:
        return asdict(ModelInfo.from_json(open_storage(uri).read(uri, row.lake.root), uri))
    except (FileNotFoundError, ModelError, LakeError):
        return None


def drift_json(row: RefitRow) -> dict[str, Any] | None:
    """Return the drift of a refit as a JSON document; None without an earlier refit."""
    if row.drift_from is None:
        return None
    return {
        "since": row.drift_from,
        "angle": row.drift_angle,
        "shift": row.drift_shift,
        "labels": row.label_shifts,
        "new_labels": row.new_labels,
        "vanished_labels": row.vanished_labels,
        "limits": row.parse("drift_limits") if row.drift_limits else None,
        "exceeded": row.drift_exceeded,
    }
