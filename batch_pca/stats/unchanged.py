"""Check whether a refit would equal an earlier one: same rows, same parameters."""

from __future__ import annotations

from collections.abc import Sequence

from batch_pca.refits.catalog import RefitRow
from streaming.lake.history import same_rows


def find_unchanged(earlier: Sequence[RefitRow], version: int, parameters: str) -> RefitRow | None:
    """Return an earlier refit of the same rows with the same parameters; None if there is none.

    Only the refit whose version is nearest to `version`, and of several the latest, is compared. A refit whose folder
    was deleted does not count.
    """
    same = [row for row in reversed(earlier) if row.parameters == parameters]
    nearest = min(same, key=lambda row: abs(row.features_version - version), default=None)
    if nearest is None or not nearest.folder.exists():
        return None
    return nearest if same_rows(nearest.lake, nearest.features_version, version) else None
