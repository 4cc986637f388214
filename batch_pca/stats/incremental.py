"""Statistics of a snapshot: those of an earlier refit plus the changes since, or a full scan."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from batch_pca.features.snapshot import Snapshot
from batch_pca.pca.moments import Moments, Vector
from batch_pca.pca.rounding_error import has_drifted
from batch_pca.refits.catalog import RefitRow
from batch_pca.stats.change_feed import Changes, change_feed, sum_changes, sum_few_changes
from batch_pca.stats.full_scan import sum_moments, sum_parts
from streaming.delta.log import Version
from streaming.errors import SnapshotError
from streaming.storage.interface import TransientError

log = logging.getLogger(__name__)

FULL, INCREMENTAL = "full", "incremental"
# The feed passes Spark, all rows do not: from here on, reading all of them is faster.
_MOST_CHANGED = 0.5
_UNREADABLE = (
    *(PySparkException, Py4JError, DeltaError, pa.ArrowException),
    *(OSError, TransientError, SnapshotError),
)
# Rows of the feed that are summed in this process, without a job of Spark: they take a second.
_FEW = 20_000


@dataclass(frozen=True, eq=False)
class Statistics:
    """Moments of a snapshot's rows to fit, and how they came about.

    Attributes
    ----------
    moments : Moments
    kind : str
        ``full`` or ``incremental``.
    refit_id : str or None
        The refit whose moments were taken, for ``incremental``.
    description : str
        For people: what was read, and why.
    """

    moments: Moments
    kind: str
    refit_id: str | None
    description: str


class _Unusable(Exception):
    """Why all rows must be read."""


def compute_statistics(
    snapshot: Snapshot,
    earlier: list[RefitRow],
    commits: list[Version],
    *,
    full: bool,
) -> Statistics:
    """Find a snapshot's statistics in the least time.

    Parameters
    ----------
    snapshot : Snapshot
    earlier : list of RefitRow
        Whose statistics may be taken.
    commits : list of Version
        The last of the table; they tell about how much has changed.
    full : bool
        Whether to read all rows in any case.

    Raises
    ------
    SnapshotError
        When a vector holds what is not a number.
    """
    try:
        if full:
            raise _Unusable("as asked")
        refit, moments = _nearest(snapshot, earlier)
        return _increment(snapshot, refit, moments, commits)
    except _Unusable as unusable:
        log.info("all rows are read: %s", unusable)
        if snapshot.parts is None:
            moments = sum_moments(snapshot.rows_to_fit)
        else:
            moments = sum_parts(snapshot.spark, snapshot.parts, snapshot.prefix)
        remark = f"all {moments.count:,} rows read ({unusable})"
        return Statistics(moments, FULL, None, remark)


def _nearest(snapshot: Snapshot, earlier: list[RefitRow]) -> tuple[RefitRow, Moments]:
    """The refit of the same rows to fit on the latest version up to this one, with its statistics."""
    candidates = [
        made
        for made in earlier
        if made.model_id == snapshot.model_id
        and made.features_version <= snapshot.version.number
        and made.fit_on == snapshot.prefix
    ]
    for made in sorted(candidates, key=lambda made: made.features_version, reverse=True):
        moments = _stored(made)
        if moments is not None:
            return made, moments
    if candidates:
        raise _Unusable(f"the statistics of refit {candidates[-1].refit_id} are gone or damaged")
    raise _Unusable("no earlier refit of these rows")


def _stored(made: RefitRow) -> Moments | None:
    """Its statistics; None where somebody has removed or damaged them."""
    try:
        moments = Moments.from_bytes(made.folder.read("moments.npz"))
    except (FileNotFoundError, SnapshotError):
        return None
    width = (moments.shift.size,)
    shapes = (moments.total.shape, moments.rounding.shape, moments.cross.shape)
    arrays = (moments.shift, moments.total, moments.cross, moments.rounding)
    sound = shapes == (width, width, width * 2) and all(np.isfinite(a).all() for a in arrays)
    return moments if sound and moments.count == made.rows_fitted else None


def _increment(
    snapshot: Snapshot,
    refit: RefitRow,
    moments: Moments,
    commits: list[Version],
) -> Statistics:
    since = [
        commit
        for commit in commits
        if refit.features_version < commit.number <= snapshot.version.number
    ]
    expected = sum(commit.added + commit.removed + 2 * commit.replaced for commit in since)
    if expected > _MOST_CHANGED * snapshot.count:
        raise _Unusable(f"most of them have changed since refit {refit.refit_id}")
    added = removed = 0
    if refit.features_version != snapshot.version.number:
        changes = _changes_since(snapshot, refit, moments.shift, expected)
        added, removed = changes.added.count, changes.removed.count
        if moments.count + added - removed != snapshot.count_to_fit:
            raise _Unusable(f"the change feed since refit {refit.refit_id} does not add up")
        moments = moments + changes.added - changes.removed
        if moments.count > 1 and has_drifted(moments):
            raise _Unusable(f"rounding has added up since refit {refit.refit_id}")
    elif moments.count != snapshot.count_to_fit:
        raise _Unusable(f"refit {refit.refit_id} counted other rows")
    remark = f"{added:,} rows added, {removed:,} removed since refit {refit.refit_id}"
    return Statistics(moments, INCREMENTAL, refit.refit_id, remark)


def _changes_since(snapshot: Snapshot, refit: RefitRow, shift: Vector, expected: int) -> Changes:
    one, other = refit.features_version, snapshot.version.number
    try:
        if expected <= _FEW:
            return sum_few_changes(snapshot.lake, one, other, shift, snapshot.prefix)
        feed = change_feed(snapshot.spark, snapshot.lake, one, other)
        return sum_changes(feed, shift, snapshot.prefix, expected)
    # Each version words it differently, and NaN among the rows is told by the full pass.
    except _UNREADABLE:
        raise _Unusable(f"the change feed since refit {refit.refit_id} is not available") from None
