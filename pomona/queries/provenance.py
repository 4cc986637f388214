"""Provenance of a refit: from one of its files to the features, the model and its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pomona.queries.session import JsonObject, open_lake, translate_read_errors
from streaming.lake.layout import Lake
from streaming.storage.documents import InvalidDocumentError, parse_document
from streaming.storage.interface import is_below, is_s3, local_path, local_uri, normalize
from streaming.storage.open import open_storage

if TYPE_CHECKING:
    from batch_pca.refits.catalog import RefitRow


def resolve_refit_id(location: str, identifier: str) -> str | None:
    """Return the ID of the refit that an identifier refers to, or None.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    identifier : str
        A refit ID; a file or folder below ``reduced/<id>``; a copied ``refit.json``, or a local file in the same
        folder; or a copy of a ``reduced.csv``.
    """
    lake = open_lake(location)
    with translate_read_errors():
        from batch_pca.refits.catalog import read_refits

        refits = {refit.refit_id: refit for refit in read_refits(lake)}
        if identifier in refits:
            return identifier
        refit_id = normalize(identifier).removeprefix(f"{lake.reduced}/").partition("/")[0]
        if refit_id in refits:
            return refit_id
        return _find_by_refit_json(lake, identifier, refits) or _find_by_csv_hash(
            identifier, refits
        )


def _find_by_refit_json(lake: Lake, identifier: str, refits: dict[str, RefitRow]) -> str | None:
    """Find a refit by the ``refit.json`` in the same folder."""
    from batch_pca.refits.lineage import LINEAGE_FILE

    path = _existing_local_path(identifier)
    if path is None:
        return None
    uri = local_uri(str((path if path.is_dir() else path.parent) / LINEAGE_FILE))
    try:
        content = open_storage(uri).read(uri, lake.root if is_below(uri, lake.root) else None)
        refit_id: str = parse_document(content, {"refit_id": str})["refit_id"]
    except (OSError, InvalidDocumentError):
        return None
    return refit_id if refit_id in refits else None


def _find_by_csv_hash(identifier: str, refits: dict[str, RefitRow]) -> str | None:
    """Find a refit by the SHA-256 of a CSV file."""
    from batch_pca.refits.lineage import LINEAGE_FILE

    path = _existing_local_path(identifier)
    if path is None or path.suffix != ".csv" or not path.is_file():
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for refit_id, refit in refits.items():
        try:
            found = parse_document(refit.folder.read(LINEAGE_FILE), {"csv_sha256": str})
            if found["csv_sha256"] == digest:
                return refit_id
        except (FileNotFoundError, InvalidDocumentError):  # an older version, or deleted
            continue
    return None


def _existing_local_path(identifier: str) -> Path | None:
    uri = normalize(identifier)
    try:
        return None if is_s3(uri) or not local_path(uri).exists() else local_path(uri)
    except OSError:  # name too long, or no permission: may still be an image path
        return None


def describe_refit(location: str, refit_id: str) -> JsonObject:
    """Return the lineage of a refit (`batch_pca.refits.lineage.lineage`) with folder, CSV, drift and tags."""
    from batch_pca.refits.catalog import read_refits
    from batch_pca.refits.drift import describe_drift
    from batch_pca.refits.lineage import lineage
    from streaming.lake.tags import read_tags

    lake: Lake = open_lake(location)
    with translate_read_errors():
        # Writers other than Pomona may have duplicated a row: take the latest.
        refit = {refit.refit_id: refit for refit in read_refits(lake)}[refit_id]
        return {
            **lineage(refit),
            "folder": refit.folder.uri,
            "csv": refit.folder.csv,
            "drift_summary": describe_drift(refit),
            "tags": [tag.name for tag in read_tags(lake) if tag.version == refit.features_version],
        }
