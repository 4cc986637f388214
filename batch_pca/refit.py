"""`refit()`: fit StandardScaler and PCA on a pinned version of the features, and publish the result."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Thread

from pyspark.sql import SparkSession

from batch_pca.features.snapshot import take_snapshot
from batch_pca.pca.fit import FitOptions, fit
from batch_pca.refits.catalog import (
    RefitRow,
    commit_refit,
    find_sign_reference,
    read_refits,
    read_refits_and_abandoned,
)
from batch_pca.refits.drift import (
    DriftThresholds,
    apply_thresholds,
    check_baseline,
    find_baselines,
    find_named_baseline,
    measure_drift,
)
from batch_pca.refits.folder import (
    RefitFolder,
    check_not_removed,
    create_folder,
    mark_complete,
    read_components,
    remove_abandoned,
    write_fit,
)
from batch_pca.refits.lineage import write_lineage
from batch_pca.refits.vectors import write_vectors
from batch_pca.report.data import write_report
from batch_pca.stats.incremental import commits_to_read, compute_statistics
from batch_pca.stats.unchanged import find_unchanged
from streaming import __version__
from streaming.arguments import check_argument, check_fields
from streaming.delta.log import read_commits
from streaming.delta.tables import create_table
from streaming.delta.writer import prepare_commit
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS
from streaming.lake.version_spec import VersionSpec
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.spark.errors import translate_errors
from streaming.spark.session import start_session
from streaming.storage.interface import is_s3, normalize

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefitOptions:
    """Options of `refit`.

    Parameters
    ----------
    fit : FitOptions
        Number of components, or explained variance ratio to reach. Default: a ratio of 0.95.
    as_of : str, int or datetime, optional
        Features version to fit, as `streaming.lake.versions.resolve_version` accepts it. Default: the latest.
    fit_on : str or os.PathLike, optional
        Path prefix of the rows to fit. All rows are transformed.
    full : bool
        Read all rows, and refit even if nothing changed since an earlier refit.
    drift : DriftThresholds
        Drift thresholds.
    baseline : str, optional
        ID of the refit to measure drift against. Default: the previous scheduled refit, which has the same model and
        parameters, the latest earlier features version, and neither `as_of` nor `baseline`.

    Raises
    ------
    UsageError
        If a value has another type.

    Examples
    --------
    >>> import pomona
    >>> options = pomona.RefitOptions(pomona.FitOptions(components=50), fit_on="./fruits/Fig")
    >>> options.full
    False
    """

    fit: FitOptions = field(default_factory=lambda: FitOptions(variance=0.95))
    as_of: VersionSpec | None = None
    fit_on: str | os.PathLike[str] | None = None
    full: bool = False
    drift: DriftThresholds = field(default_factory=DriftThresholds)
    baseline: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def scheduled(self) -> bool:
        """Whether later refits may be compared with this one."""
        return self.as_of is None and self.baseline is None

    def as_json(self) -> str:
        """Return the options that determine the result for a given features version, as JSON."""
        fit_on = None if self.fit_on is None else normalize(self.fit_on)
        return json.dumps(
            {"components": self.fit.components, "variance": self.fit.variance, "fit_on": fit_on}
        )


@dataclass(frozen=True)
class RefitResult:
    """Result of `refit`: the row of the catalog, the files, and how this run produced them.

    Attributes
    ----------
    row : RefitRow
        Row of the ``refits/`` table.
    is_new : bool
        False if nothing changed and `row` is an earlier refit. The attributes below are then not set, except `as_of`.
    as_of : str
        Description of the version that `RefitOptions.as_of` resolved to; empty if it was not given.
    limited_by_rows : bool
        Whether a variance ratio was requested and the number of rows, not the number of columns, limits the number of
        components. With more rows, more components may be needed for the same ratio.
    statistics_summary : str
        Description of the rows that were read for the statistics.
    phases : mapping of str to float
        Seconds of ``statistics``, ``decomposition`` and ``publishing``.

    Examples
    --------
    >>> import pomona
    >>> result = pomona.refit("./lake", pomona.RefitOptions(pomona.FitOptions(components=3)))
    >>> result.is_new, result.row.components
    (False, 3)
    """

    row: RefitRow
    is_new: bool = True
    as_of: str = ""
    limited_by_rows: bool = False
    statistics_summary: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def refit_id(self) -> str:
        """ID of the refit, the name of its folder."""
        return self.row.refit_id

    @property
    def folder(self) -> RefitFolder:
        """The folder with the files: ``folder.csv``, ``folder.parquet``, ``folder.pipeline``, ``folder.report``."""
        return self.row.folder


def refit(lake: str | os.PathLike[str], options: RefitOptions | None = None) -> RefitResult:
    """Fit the scaler and the PCA on a version of the features, and publish the reduced rows.

    If the rows and the options are those of an earlier refit, that refit is returned with ``is_new=False``.

    Parameters
    ----------
    lake : str or os.PathLike
        Folder or ``s3://`` URI of a lake.
    options : RefitOptions, optional
        None means `RefitOptions()`, with an explained variance ratio of 0.95.

    Returns
    -------
    RefitResult

    Raises
    ------
    PomonaError
        With a one-line message. Nothing is published then.

    Examples
    --------
    >>> import pomona
    >>> result = pomona.refit("./lake", pomona.RefitOptions(pomona.FitOptions(components=2)))
    >>> result.row.components, result.row.rows_fitted
    (2, 8)
    """
    options = check_argument("options", options, RefitOptions | None) or RefitOptions()
    opened = Lake.at(lake)
    opened.validate()
    with translate_errors():
        # Usage errors are raised before the slow start of Spark.
        version = None if options.as_of is None else resolve_version(opened, options.as_of)
        if options.baseline is not None:
            find_named_baseline(read_refits(opened), options.baseline)
        spark = start_session(s3=is_s3(opened.root))
        result = _refit(spark, opened, options, version)
        return replace(result, as_of=version.description) if version else result


def _refit(
    spark: SparkSession, lake: Lake, options: RefitOptions, version: ResolvedVersion | None
) -> RefitResult:
    started = time.monotonic()
    create_table(spark, lake.refits, REFITS)
    earlier, abandoned = read_refits_and_abandoned(lake)
    remove_abandoned(abandoned, {row.refit_id for row in earlier})
    version = version or resolve_version(lake, None)
    if not options.full:
        unchanged = find_unchanged(_comparable(earlier, options), version.number, options.as_json())
        if unchanged:
            return RefitResult(apply_thresholds(unchanged, options.drift), is_new=False)

    timer = PhaseTimer()
    recent = None if options.as_of is not None else commits_to_read(earlier, version.number)
    commits = read_commits(lake.features, recent)
    snapshot = take_snapshot(spark, lake, version, options.fit_on)
    named = find_named_baseline(earlier, options.baseline) if options.baseline else None
    if named:
        check_baseline(named, snapshot.model_id)
    statistics = compute_statistics(snapshot, earlier, commits, full=options.full)
    timer.end_phase("statistics")
    superseded_at = next((c.committed for c in commits if c.number == version.number + 1), None)
    reference = find_sign_reference(
        earlier, snapshot.model_id, version.number, options.as_json(), superseded_at
    )
    width = statistics.moments.shift.size
    previous_components = read_components(reference.folder, width) if reference else None
    reduction = fit(statistics.moments, options.fit, previous_components)
    timer.end_phase("decomposition")

    row = RefitRow(
        refit_id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-v{version.number}-{uuid.uuid4().hex[:4]}",
        lake=lake,
        features_version=version.number,
        features_timestamp=version.committed,
        model_id=snapshot.model_id,
        parameters=options.as_json(),
        rows=snapshot.count,
        rows_fitted=reduction.count,
        explained_variance_ratio=tuple(reduction.explained_variance_ratio[: reduction.k].tolist()),
        created_at=datetime.now(UTC),
        pomona_version=__version__,
        statistics=statistics.kind,
        statistics_from=statistics.refit_id,
        scheduled=options.scheduled,
    )
    with create_folder(lake, row.refit_id) as folder:
        with ThreadPoolExecutor(1) as background:
            # Writing the fit uses one core and waits for small files, while the workers use all cores.
            fit_written = background.submit(write_fit, spark, folder, reduction, statistics.moments)
            sample = write_vectors(folder, snapshot, reduction)
            fit_written.result()
        baselines = (
            [named]
            if named
            else find_baselines(earlier, row.model_id, row.parameters, row.features_version)
        )
        measured = (measure_drift(base, statistics.moments, sample.sums) for base in baselines)
        drift = next((found for found in measured if found), None)
        if named and drift is None:  # `pomona prune` has removed it in the meantime
            check_baseline(named, row.model_id)
        row = replace(row, **drift.columns(options.drift)) if drift else row
        write_lineage(folder, row, sample.csv_sha256)
        # The first commit of a session is slow. It is prepared while the report is drawn, which uses one core.
        Thread(target=prepare_commit, args=(spark, lake.refits), daemon=True).start()
        write_report(folder, row, sample, reduction, earlier)
        row = replace(row, seconds=time.monotonic() - started)
        check_not_removed(folder)
        commit_refit(spark, row)
        mark_complete(folder)
    timer.end_phase("publishing")
    return RefitResult(
        row,
        limited_by_rows=reduction.limited_by_rows and options.fit.components is None,
        statistics_summary=statistics.description,
        phases=timer.phases,
    )


def _comparable(earlier: list[RefitRow], options: RefitOptions) -> list[RefitRow]:
    """Return the earlier refits whose drift is what these options measure.

    A scheduled refit is not replaced by one with ``--as-of``, which would be missing as a baseline later.
    """
    if options.baseline is not None:
        return [row for row in earlier if row.drift_from == options.baseline]
    if options.scheduled:
        return [row for row in earlier if row.scheduled is not False]
    return earlier


class PhaseTimer:
    """Measure the seconds of consecutive phases."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._started = time.monotonic()

    def end_phase(self, name: str) -> None:
        """Record the time since the end of the previous phase."""
        now = time.monotonic()
        self.phases[name] = now - self._started
        self._started = now
