"""Provenance of a published file: from a file of a refit back to the features, the model and its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pomona.queries.session import JsonObject, open_lake, translate_read_errors
from streaming.lake.layout import Lake
from streaming.storage.interface import is_s3, local_path, normalize

if TYPE_CHECKING:
    from batch_pca.refits.catalog import RefitRow


def resolve_refit_id(location: str, word: str) -> str | None:
    """The id of the refit that a person means.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    word : str
        An id; a file or folder below ``reduced/<id>``; a file of this machine beside a copy of ``refit.json``, that
        itself, or a copy of a ``reduced.csv`` alone.

    Returns
    -------
    str or None
        None where it is none of the lake's refits.
    """
    lake = open_lake(location)
    with translate_read_errors():
        from batch_pca.refits.catalog import read_refits

        refits = {made.refit_id: made for made in read_refits(lake)}
        if word in refits:
            return word
        named = normalize(word).removeprefix(f"{lake.reduced}/").partition("/")[0]
        if named in refits:
            return named
        return _beside(word, refits) or _by_hash(word, refits)


def _beside(word: str, refits: dict[str, RefitRow]) -> str | None:
    """By the ``refit.json`` of a copied folder."""
    from batch_pca.refits.lineage import FILE

    place = _local(word)
    if place is None:
        return None
    beside = (place if place.is_dir() else place.parent) / FILE
    try:
        named = json.loads(beside.read_bytes())["refit_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return named if named in refits else None


def _by_hash(word: str, refits: dict[str, RefitRow]) -> str | None:
    """By the bytes of a CSV."""
    from batch_pca.refits.lineage import FILE

    place = _local(word)
    if place is None or place.suffix != ".csv" or not place.is_file():
        return None
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for name, made in refits.items():
        try:
            if json.loads(made.folder.read(FILE))["csv_sha256"] == digest:
                return name
        except (FileNotFoundError, ValueError, KeyError):  # made by an earlier Pomona, or removed
            continue
    return None


def _local(word: str) -> Path | None:
    uri = normalize(word)
    try:
        return None if is_s3(uri) or not local_path(uri).exists() else local_path(uri)
    except OSError:  # too long for a file, or below a closed folder: an image's name still
        return None


def describe_refit(location: str, refit_id: str) -> JsonObject:
    """Where a refit comes from: `batch_pca.refits.lineage.lineage` with folder, CSV, drift and tags."""
    from batch_pca.refits.catalog import read_refits
    from batch_pca.refits.drift import describe_drift
    from batch_pca.refits.lineage import lineage
    from streaming.lake.tags import read_tags

    lake: Lake = open_lake(location)
    with translate_read_errors():
        (made,) = (made for made in read_refits(lake) if made.refit_id == refit_id)
        return {
            **lineage(made),
            "folder": made.folder.uri,
            "csv": made.folder.csv,
            "drift_summary": describe_drift(made),
            "tags": [tag.name for tag in read_tags(lake) if tag.version == made.features_version],
        }
