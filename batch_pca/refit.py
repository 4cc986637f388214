"""`refit()`: fit StandardScaler and PCA on a pinned version of the features, and publish the result."""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Thread

from pyspark.sql import SparkSession

from batch_pca.features.snapshot import take_snapshot
from batch_pca.pca.fit import FitOptions, fit
from batch_pca.refits.catalog import RefitRow, aligned_with, commit_refit, published
from batch_pca.refits.drift import DriftLimits, compared_with, measure
from batch_pca.refits.folder import (
    begin,
    end,
    find_abandoned,
    read_components,
    remove_abandoned,
    write_fit,
)
from batch_pca.refits.lineage import write_lineage
from batch_pca.refits.vectors import write_vectors
from batch_pca.report.data import write_report
from batch_pca.stats.incremental import statistics_of
from batch_pca.stats.unchanged import find_unchanged
from streaming import __version__
from streaming.delta.log import read_commits
from streaming.delta.tables import create_table
from streaming.delta.writer import prepare_commit
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.spark.errors import translate_errors
from streaming.spark.session import start_session
from streaming.storage.interface import is_s3, normalize

log = logging.getLogger(__name__)

# Commits that are looked at, the last so many: they only save questions to the change feed.
_RECENT = 64


@dataclass(frozen=True)
class RefitOptions:
    """What to fit, and how much of it to keep.

    Parameters
    ----------
    fit : FitOptions
        Number of components, or share of the variance.
    as_of : str, optional
        Version of the features as `streaming.lake.versions.resolve` takes it; None is the latest.
    fit_on : str, optional
        Fit on the rows below this prefix only, and transform all.
    full : bool
        Read all rows and fit again, whatever an earlier refit left and whether anything has changed.
    drift : DriftLimits
        What is called drift, in ``refits/`` and in what is said.

    Examples
    --------
    >>> import pomona
    >>> options = pomona.RefitOptions(pomona.FitOptions(components=50), fit_on="./fruits/Fig")
    >>> options.full
    False
    """

    fit: FitOptions = field(default_factory=lambda: FitOptions(variance=0.95))
    as_of: str | None = None
    fit_on: str | None = None
    full: bool = False
    drift: DriftLimits = field(default_factory=DriftLimits)

    def as_json(self) -> str:
        """What two refits must share to be the same work; the version is told beside it."""
        fit_on = self.fit_on and normalize(self.fit_on)
        return json.dumps(
            {"components": self.fit.components, "variance": self.fit.variance, "fit_on": fit_on}
        )


def refit(lake: str, options: RefitOptions | None = None) -> RefitRow:
    """Fit the scaler and the PCA on a version of the features, and publish the reduced rows.

    Parameters
    ----------
    lake : str
        Folder or ``s3a://`` URI of a lake.
    options : RefitOptions, optional

    Returns
    -------
    RefitRow
        The new one; or, with `is_new` False, the last one where the same options would give the same.

    Raises
    ------
    PomonaError
        In one line; nothing is published then.

    Examples
    --------
    >>> import pomona
    >>> result = pomona.refit("./lake", pomona.RefitOptions(pomona.FitOptions(components=2)))
    >>> result.components, result.rows_fitted
    (2, 8)
    """
    options = options or RefitOptions()
    at = Lake.at(lake)
    at.validate()
    with translate_errors():
        # A mistake is told before Spark starts.
        version = resolve_version(at, options.as_of) if options.as_of is not None else None
        spark = start_session(s3=is_s3(at.root))
        made = _refit(spark, at, options, version)
        return replace(made, as_of=version.description) if version else made


def _refit(
    spark: SparkSession, lake: Lake, options: RefitOptions, version: ResolvedVersion | None
) -> RefitRow:
    started = time.monotonic()
    create_table(spark, lake.refits, REFITS)
    abandoned = find_abandoned(lake)
    earlier = published(lake)
    remove_abandoned(abandoned, {made.refit_id for made in earlier})
    version = version or resolve_version(lake, None)
    commits = read_commits(lake.features, None if options.as_of else _RECENT)
    if not options.full:
        unchanged = find_unchanged(earlier, version.number, options.as_json())
        if unchanged:
            return unchanged

    clock = Clock()
    snapshot = take_snapshot(spark, lake, version, options.fit_on)
    statistics = statistics_of(snapshot, earlier, commits, full=options.full)
    clock.ends("statistics")
    until = next((c.committed for c in commits if c.number == version.number + 1), None)
    followed = aligned_with(earlier, snapshot.model_id, version.number, options.as_json(), until)
    reduction = fit(
        statistics.moments, options.fit, read_components(followed.folder) if followed else None
    )
    clock.ends("decomposition")

    made = RefitRow(
        refit_id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-v{version.number}-{uuid.uuid4().hex[:4]}",
        lake=lake,
        features_version=version.number,
        features_timestamp=version.committed,
        model_id=snapshot.model_id,
        options=options.as_json(),
        rows=snapshot.count,
        rows_fitted=reduction.count,
        explained_variance_ratio=tuple(reduction.explained_variance_ratio[: reduction.k].tolist()),
        created_at=datetime.now(UTC),
        pomona_version=__version__,
        limited_by_rows=reduction.limited_by_rows,
        statistics=statistics.kind,
        statistics_from=statistics.source,
        statistics_remark=statistics.remark,
    )
    folder = begin(lake, made.refit_id)
    write_fit(spark, folder, reduction, statistics.moments)
    sample = write_vectors(folder, snapshot, reduction)
    before = compared_with(earlier, made.model_id, made.fit_on, version.number)
    drift = measure(before, reduction, sample.sums.means()) if before else None
    made = replace(made, **drift.columns(options.drift)) if drift else made
    write_lineage(folder, made, sample.csv_sha256)
    # The first commit of a session is slow: what it needs is got ready while one core draws.
    Thread(target=prepare_commit, args=(spark, lake.refits), daemon=True).start()
    write_report(folder, made, sample, reduction, earlier)
    made = replace(made, seconds=time.monotonic() - started)
    commit_refit(spark, made)
    end(folder)
    clock.ends("publishing")
    return replace(made, phases=clock.phases)


class Clock:
    """Seconds of the phases of a refit, each from the end of the one before."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._since = time.monotonic()

    def ends(self, phase: str) -> None:
        """A phase is over."""
        now = time.monotonic()
        self.phases[phase] = now - self._since
        self._since = now
