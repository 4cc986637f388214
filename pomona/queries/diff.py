"""Differences between two versions of the features, and between two refits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from pomona.queries.session import JsonObject, open_lake, translate_read_errors, version_json
from streaming.delta.reader import open_table, query
from streaming.errors import UsageError
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion, resolve_version

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from batch_pca.refits.catalog import RefitRow

_COLUMNS = ["path", "label", "content_hash"]
KINDS = ("added", "removed", "replaced")


@dataclass(frozen=True)
class ComparedVersion:
    """One of the two that are compared: a version, and the refit that was named, or the last one made of it."""

    pinned: ResolvedVersion
    refit: RefitRow | None


def diff(location: str, one: str, other: str) -> JsonObject:
    """Compare two versions of the features, or two refits and the versions that they were fitted on.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    one, other : str
        A version as `streaming.lake.versions.resolve` takes it, or the id of a refit.

    Returns
    -------
    dict
        ``from``, ``to`` (``version``, ``committed``, ``resolved``, ``rows``); ``added``, ``removed``, ``replaced`` (how
        many images: another content under the same path is a replacement); ``labels`` (the same by label); ``images``
        (their paths by kind); ``refits`` (see `compare_refits`), None where one of the versions has none.

    Raises
    ------
    UsageError, SnapshotError
        Where there is no such version or refit.
    """
    from batch_pca.refits.catalog import read_refits

    lake = open_lake(location)
    with translate_read_errors():
        refits = read_refits(lake)
        sides = [_side(lake, refits, word) for word in (one, other)]
        before, after = (open_table(lake.features, side.pinned.number) for side in sides)
        changed, rows = compare_tables(before, after)
        made = sides[0].refit, sides[1].refit
        labels = sorted({label for found in changed.values() for _, label in found})
        counts = {kind: Counter(label for _, label in found) for kind, found in changed.items()}
        return {
            "from": version_json(sides[0].pinned) | {"rows": rows[0]},
            "to": version_json(sides[1].pinned) | {"rows": rows[1]},
            **{kind: len(changed[kind]) for kind in KINDS},
            "labels": [
                {"label": label, **{kind: counts[kind][label] for kind in KINDS}}
                for label in labels
            ],
            "images": {kind: [path for path, _ in changed[kind]] for kind in KINDS},
            "refits": compare_refits(made[0], made[1]) if made[0] and made[1] else None,
        }


def _side(lake: Lake, refits: list[RefitRow], word: str) -> ComparedVersion:
    named = [made for made in refits if made.refit_id == word]
    pinned = resolve_version(lake, str(named[0].features_version) if named else word)
    of_it = named or [made for made in refits if made.features_version == pinned.number]
    return ComparedVersion(pinned, of_it[-1] if of_it else None)


Changed = dict[str, list[tuple[str, str]]]


def compare_tables(before: DeltaTable, after: DeltaTable) -> tuple[Changed, tuple[int, int]]:
    """Path and label of the images that were added, removed and replaced, in order; and the rows on both sides."""
    files = [set(table.get_add_actions().column("path").to_pylist()) for table in (before, after)]
    # What lies in a file that both have has not changed: only the others are read.
    old, new = (
        _contents(table, names - (files[0] & files[1]))
        for table, names in zip((before, after), files, strict=True)
    )
    both = old.join(new, "path", join_type="full outer", right_suffix="_new").sort_by("path")
    is_old, is_new = pc.is_valid(both["content_hash"]), pc.is_valid(both["content_hash_new"])
    differs = pc.not_equal(both["content_hash"], both["content_hash_new"])
    masks = {
        "added": pc.invert(is_old),
        "removed": pc.invert(is_new),
        "replaced": pc.fill_null(differs, False),
    }
    labels = pc.coalesce(both["label_new"], both["label"])
    changed = {
        kind: list(
            zip(both["path"].filter(mask).to_pylist(), labels.filter(mask).to_pylist(), strict=True)
        )
        for kind, mask in masks.items()
    }
    counted = [next(iter(query(t, "count(*)"))).column(0)[0].as_py() for t in (before, after)]
    return changed, (counted[0], counted[1])


def _contents(table: DeltaTable, names: set[str]) -> pa.Table:
    wanted = names | set(map(unquote, names))
    schema = pa.schema([(name, pa.string()) for name in _COLUMNS])
    dataset: Any = table.to_pyarrow_dataset()
    read = (
        fragment.to_table(columns=_COLUMNS).cast(schema)
        for fragment in dataset.get_fragments()
        if fragment.path.removeprefix("/") in wanted
    )
    return pa.concat_tables([schema.empty_table(), *read])


def compare_refits(one: RefitRow, other: RefitRow) -> JsonObject:
    """Compare two refits of one model.

    Returns
    -------
    dict
        ``from``, ``to`` (``refit_id``, ``features_version``, ``components``, ``explained_variance``,
        ``explained_variance_ratio``) and ``angles``: the principal angles between their subspaces, as many as the
        smaller has dimensions, in degrees, ascending.

    Raises
    ------
    UsageError
        Where they are of different models, whose features mean different things.
    """
    from batch_pca.pca.subspace_angles import principal_angles
    from batch_pca.refits.load import read_fit

    if one.model_id != other.model_id:
        raise UsageError(
            f"refits {one.refit_id} and {other.refit_id} are of the models {one.model_id} and {other.model_id}, "
            "whose features cannot be compared: name versions of one model"
        )
    bases = [read_fit(made.folder).components for made in (one, other)]
    return {
        "from": _refit(one),
        "to": _refit(other),
        "angles": principal_angles(*bases).tolist(),
    }


def _refit(made: RefitRow) -> JsonObject:
    return {
        "refit_id": made.refit_id,
        "features_version": made.features_version,
        "components": made.components,
        "explained_variance": made.explained,
        "explained_variance_ratio": list(made.explained_variance_ratio),
    }
