"""Statistics of a snapshot: those of an earlier refit plus the changes since, or a full scan."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pyarrow as pa
from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from batch_pca.features.snapshot import Snapshot
from batch_pca.pca.moments import Moments, Vector
from batch_pca.pca.rounding_error import is_inaccurate
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.folder import read_moments
from batch_pca.stats.change_feed import Changes, change_feed, sum_changes, sum_few_changes
from batch_pca.stats.full_scan import sum_moments, sum_parts
from streaming.counts import format_count
from streaming.delta.log import Version
from streaming.errors import SnapshotError
from streaming.storage.interface import TransientError

log = logging.getLogger(__name__)

FULL, INCREMENTAL = "full", "incremental"
# If more rows changed, a full scan is faster: only the change feed passes through Spark.
_MAX_CHANGED_RATIO = 0.5
# Up to this many rows of the change feed, this process sums them within a second, without a Spark job.
_MAX_ROWS_WITHOUT_SPARK = 20_000
# Limits of the number of latest commits to read from the log. They only save reads of the change data feed; on S3, each
# is a request.
_MIN_COMMITS, _MAX_COMMITS = 64, 1000
# What reading the change feed raises if it is not available, depending on the version of Spark and delta-rs.
_FEED_ERRORS = (
    PySparkException,
    Py4JError,
    DeltaError,
    pa.ArrowException,
    OSError,
    TransientError,
    SnapshotError,
    ValueError,  # vectors of another length than the statistics
)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Moments of the rows to fit of a snapshot, and how they were computed.

    Attributes
    ----------
    moments : Moments
    kind : str
        ``full`` or ``incremental``.
    refit_id : str or None
        For ``incremental``: the refit whose moments were updated.
    description : str
        Description of the rows that were read, and why.
    """

    moments: Moments
    kind: str
    refit_id: str | None
    description: str


class _FullScanNeeded(Exception):
    """Incremental statistics are not possible; the message is the reason."""


def commits_to_read(refits: list[RefitRow], version: int) -> int:
    """Return how many of the latest commits of the features to read for `compute_statistics` of a version."""
    latest = max((r.features_version for r in refits if r.features_version <= version), default=0)
    return min(max(_MIN_COMMITS, version - latest if latest else 0), _MAX_COMMITS)


def compute_statistics(
    snapshot: Snapshot, refits: list[RefitRow], commits: list[Version], *, full: bool
) -> Statistics:
    """Compute the statistics of a snapshot, incrementally if possible.

    Parameters
    ----------
    snapshot : Snapshot
    refits : list of RefitRow
        Earlier refits, whose statistics may be reused.
    commits : list of Version
        Latest commits of the features, to estimate the number of changed rows, see `commits_to_read`.
    full : bool
        Read all rows in any case.

    Raises
    ------
    SnapshotError
        If a vector contains NaN or infinity.
    """
    try:
        if full:
            raise _FullScanNeeded("--full")
        refit, moments = _latest_usable(snapshot, refits)
        return _update(snapshot, refit, moments, commits)
    except _FullScanNeeded as reason:
        log.info("reading all rows: %s", reason)
        if snapshot.parts is None:
            moments = sum_moments(snapshot.rows_to_fit)
        else:
            moments = sum_parts(snapshot.spark, snapshot.parts, snapshot.prefix)
        return Statistics(
            moments, FULL, None, f"all {format_count(moments.count, 'row')} read ({reason})"
        )


def _latest_usable(snapshot: Snapshot, refits: list[RefitRow]) -> tuple[RefitRow, Moments]:
    """Find the latest refit with the same model and prefix whose statistics are intact."""
    candidates = [
        row
        for row in refits
        if row.model_id == snapshot.model_id
        and row.features_version <= snapshot.version.number
        and row.fit_on == snapshot.prefix
    ]
    for row in sorted(candidates, key=lambda row: row.features_version, reverse=True):
        moments = read_moments(row.folder)
        if moments is not None and moments.count == row.rows_fitted:
            return row, moments
    if candidates:
        raise _FullScanNeeded(
            f"the statistics of refit {candidates[-1].refit_id} are missing or damaged"
        )
    raise _FullScanNeeded("no earlier refit of these rows")


def _update(
    snapshot: Snapshot, refit: RefitRow, moments: Moments, commits: list[Version]
) -> Statistics:
    """Update the statistics of a refit with the changes up to the snapshot."""
    expected = _estimate_changes(commits, refit.features_version, snapshot.version.number)
    if expected > _MAX_CHANGED_RATIO * snapshot.count:
        raise _FullScanNeeded(f"most of them have changed since refit {refit.refit_id}")
    added = removed = 0
    if refit.features_version != snapshot.version.number:
        changes = _sum_changes_since(refit, snapshot, moments.shift, expected)
        added, removed = changes.added.count, changes.removed.count
        if moments.count + added - removed != snapshot.count_to_fit:
            raise _FullScanNeeded(f"the change feed since refit {refit.refit_id} is inconsistent")
        moments = moments + changes.added - changes.removed
        if moments.count > 1 and is_inaccurate(moments):
            raise _FullScanNeeded(f"rounding errors have accumulated since refit {refit.refit_id}")
    elif moments.count != snapshot.count_to_fit:
        raise _FullScanNeeded(f"refit {refit.refit_id} has a different number of rows")
    description = (
        f"{format_count(added, 'row')} added, {removed:,} removed since refit {refit.refit_id}"
    )
    return Statistics(moments, INCREMENTAL, refit.refit_id, description)


def _estimate_changes(commits: list[Version], after: int, until: int) -> int:
    """Estimate the number of changed rows; commits that were not read count as the average of the others."""
    read = [commit for commit in commits if after < commit.number <= until]
    changes = sum(commit.added + commit.removed + 2 * commit.replaced for commit in read)
    return changes * (until - after) // len(read) if read else 0


def _sum_changes_since(
    refit: RefitRow, snapshot: Snapshot, shift: Vector, expected: int
) -> Changes:
    after, until = refit.features_version, snapshot.version.number
    try:
        if expected <= _MAX_ROWS_WITHOUT_SPARK:
            return sum_few_changes(snapshot.lake, after, until, shift, snapshot.prefix)
        feed = change_feed(snapshot.spark, snapshot.lake, after, until)
        return sum_changes(feed, shift, snapshot.prefix, expected)
    # The messages depend on the versions and are not shown. The full scan reports NaN in the rows.
    except _FEED_ERRORS:
        raise _FullScanNeeded(
            f"the change feed since refit {refit.refit_id} is not available"
        ) from None
