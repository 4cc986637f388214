"""Lineage of a refit: from its CSV back to the version of the features, the model and its weights.

Published as ``refit.json`` with the refit, so that a copied folder still documents its origin.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.folder import Folder
from streaming.errors import ModelError
from streaming.model.metadata import ModelInfo
from streaming.storage.open import open_storage

FILE = "refit.json"


def lineage(made: RefitRow) -> dict[str, Any]:
    """What made a refit, as JSON writes it.

    Returns
    -------
    dict
        ``refit_id``, ``lake``, ``features_version``, ``features_timestamp``, ``model_id``, ``model`` (as its
        ``model.json`` describes it, the hash of the weights included; None where the lake holds it no more),
        ``asked`` (components or variance, fit_on), ``rows``, ``rows_fitted``, ``components``,
        ``explained_variance_ratio``, ``statistics``, ``statistics_from``, ``drift`` (None without an earlier refit),
        ``created_at``, ``pomona_version``.
    """
    return {
        "refit_id": made.refit_id,
        "lake": made.lake.root,
        "features_version": made.features_version,
        "features_timestamp": made.features_timestamp.isoformat(),
        "model_id": made.model_id,
        "model": _model(made),
        "asked": json.loads(made.options),
        "rows": made.rows,
        "rows_fitted": made.rows_fitted,
        "components": made.components,
        "explained_variance_ratio": list(made.explained_variance_ratio),
        "statistics": made.statistics,
        "statistics_from": made.statistics_from,
        "drift": drift_json(made),
        "created_at": made.created_at.isoformat(),
        "pomona_version": made.pomona_version,
    }


def write_lineage(folder: Folder, made: RefitRow, csv_sha256: str) -> None:
    """Leave ``refit.json`` in a refit's folder; with the hash of the CSV, by which a copy of that alone is found."""
    told = lineage(made) | {"csv_sha256": csv_sha256}
    folder.write(FILE, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())


def _model(made: RefitRow) -> dict[str, Any] | None:
    place = f"{made.lake.models}/{made.model_id}/model.json"
    try:
        return asdict(ModelInfo.from_json(open_storage(place).read(place), place))
    except (FileNotFoundError, ModelError):
        return None


def drift_json(made: RefitRow) -> dict[str, Any] | None:
    """A refit's drift, as JSON writes it; None where there was no earlier one to compare it with."""
    if made.drift_from is None:
        return None
    return {
        "since": made.drift_from,
        "angle": made.drift_angle,
        "largest_angle": made.drift_largest_angle,
        "shift": made.drift_shift,
        "labels": made.labels_moved,
        "passed": made.drift_passed,
    }
