"""Differences between two versions of the features, and between two refits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from pomona.queries.session import JsonObject, open_lake, translate_read_errors, version_json
from streaming.arguments import check_argument
from streaming.delta.reader import open_table, query
from streaming.errors import UsageError
from streaming.lake.layout import Lake
from streaming.lake.version_spec import VersionSpec, spec_text
from streaming.lake.versions import ResolvedVersion, resolve_version

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from batch_pca.refits.catalog import RefitRow

_COLUMNS = ["path", "label", "content_hash"]
CHANGES = ("added", "removed", "replaced")


@dataclass(frozen=True)
class ComparedVersion:
    """A version to compare, and the refit that was given, or else the latest refit of the version."""

    pinned: ResolvedVersion
    refit: RefitRow | None


def diff(
    location: str, one: VersionSpec, other: VersionSpec, *, images: bool = False
) -> JsonObject:
    """Compare two versions of the features, or two refits and the versions of the features that they used.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    one, other : str, int or date
        A version, see `streaming.lake.versions.resolve_version`, or a refit ID.
    images : bool
        List the paths of the images too.

    Returns
    -------
    dict
        ``from``, ``to`` (``version``, ``committed``, ``resolved``, ``rows``); ``added``, ``removed``, ``replaced``
        (numbers of images; an image is replaced if its content hash changes); ``labels`` (the same by label);
        ``images`` (sorted paths by change; None if not requested); ``refits`` (see `compare_refits`; None if one of the
        versions has no refit).

    Raises
    ------
    UsageError, SnapshotError
        If there is no such version or refit.
    """
    from batch_pca.refits.catalog import read_refits

    check_argument("images", images, bool)
    texts = spec_text(one, "one"), spec_text(other, "other")
    lake = open_lake(location)
    with translate_read_errors():
        refits = read_refits(lake)
        sides = [_resolve_side(lake, refits, argument) for argument in texts]
        before, after = (open_table(lake.features, side.pinned.number) for side in sides)
        changed, totals = compare_tables(before, after)
        one_refit, other_refit = sides[0].refit, sides[1].refit
        counts = {change: _count_labels(rows) for change, rows in changed.items()}
        return {
            "from": version_json(sides[0].pinned) | {"rows": totals[0]},
            "to": version_json(sides[1].pinned) | {"rows": totals[1]},
            **{change: len(changed[change]) for change in CHANGES},
            "labels": [
                {"label": label, **{change: counts[change][label] for change in CHANGES}}
                for label in sorted(set().union(*counts.values()))
            ],
            "images": {change: sorted(changed[change]["path"].to_pylist()) for change in CHANGES}
            if images
            else None,
            "refits": compare_refits(one_refit, other_refit) if one_refit and other_refit else None,
        }


def _resolve_side(lake: Lake, refits: list[RefitRow], argument: str) -> ComparedVersion:
    matching = [refit for refit in refits if refit.refit_id == argument]
    pinned = resolve_version(lake, str(matching[0].features_version) if matching else argument)
    candidates = matching or [refit for refit in refits if refit.features_version == pinned.number]
    return ComparedVersion(pinned, candidates[-1] if candidates else None)


def _count_labels(rows: pa.Table) -> Counter[str]:
    counts = pc.value_counts(rows["label"])
    return Counter(dict(zip(*(part.to_pylist() for part in counts.flatten()), strict=True)))


def compare_tables(
    before: DeltaTable, after: DeltaTable
) -> tuple[dict[str, pa.Table], tuple[int, int]]:
    """Return ``path`` and ``label`` of the added, removed and replaced images, and both row counts."""
    files = [set(table.get_add_actions().column("path").to_pylist()) for table in (before, after)]
    # Rows in files that both versions share have not changed; only the other files are read.
    old, new = (
        _read_files(table, names - (files[0] & files[1]))
        for table, names in zip((before, after), files, strict=True)
    )
    both = old.join(new, "path", join_type="full outer", right_suffix="_new")
    is_old, is_new = pc.is_valid(both["content_hash"]), pc.is_valid(both["content_hash_new"])
    differs = pc.not_equal(both["content_hash"], both["content_hash_new"])
    masks = {
        "added": pc.invert(is_old),
        "removed": pc.invert(is_new),
        "replaced": pc.fill_null(differs, False),
    }
    rows = pa.table({"path": both["path"], "label": pc.coalesce(both["label_new"], both["label"])})
    changed = {change: rows.filter(mask) for change, mask in masks.items()}
    counts = [next(iter(query(t, "count(*)"))).column(0)[0].as_py() for t in (before, after)]
    return changed, (counts[0], counts[1])


def _read_files(table: DeltaTable, names: set[str]) -> pa.Table:
    selected = names | set(map(unquote, names))
    schema = pa.schema([(name, pa.string()) for name in _COLUMNS])
    dataset: Any = table.to_pyarrow_dataset()
    tables = (
        fragment.to_table(columns=_COLUMNS).cast(schema)
        for fragment in dataset.get_fragments()
        if fragment.path.removeprefix("/") in selected
    )
    return pa.concat_tables([schema.empty_table(), *tables])


def compare_refits(one: RefitRow, other: RefitRow) -> JsonObject:
    """Compare two refits of the same model.

    Returns
    -------
    dict
        ``from``, ``to`` (``refit_id``, ``features_version``, ``components``, ``explained_variance``,
        ``explained_variance_ratio``) and ``angles``: principal angles between the subspaces in degrees,
        ascending; as many as the smaller subspace has dimensions.

    Raises
    ------
    UsageError
        If the models differ, since their features cannot be compared.
    """
    from batch_pca.pca.subspace_angles import principal_angles
    from batch_pca.refits.load import read_fit

    if one.model_id != other.model_id:
        raise UsageError(
            f"refits {one.refit_id} and {other.refit_id} are of the models {one.model_id} and {other.model_id}, "
            "whose features cannot be compared: use refits of the same model"
        )
    bases = [read_fit(refit).components for refit in (one, other)]
    return {
        "from": _refit_json(one),
        "to": _refit_json(other),
        "angles": principal_angles(*bases).tolist(),
    }


def _refit_json(refit: RefitRow) -> JsonObject:
    return {
        "refit_id": refit.refit_id,
        "features_version": refit.features_version,
        "components": refit.components,
        "explained_variance": refit.explained,
        "explained_variance_ratio": list(refit.explained_variance_ratio),
    }
