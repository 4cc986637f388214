"""`pomona refit`: fit StandardScaler and PCA, once or on a schedule."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import AsOf, GlueDatabase, Json, LakeArgument
from streaming.counts import format_count
from streaming.errors import (
    ExternalError,
    LakeError,
    SnapshotError,
    ThresholdExceeded,
    TooFewRowsError,
    UsageError,
)

if TYPE_CHECKING:
    from batch_pca.pca.fit import FitOptions
    from batch_pca.refit import RefitOptions, RefitResult
    from batch_pca.refits.drift import DriftThresholds
    from pomona.output.console import Console


def refit(
    lake: LakeArgument,
    components: Annotated[
        int | None, typer.Option(help="Number of principal components to keep.")
    ] = None,
    variance: Annotated[
        float | None, typer.Option(help="Explained variance ratio to reach (default: 0.95).")
    ] = None,
    as_of: AsOf = None,
    fit_on: Annotated[
        str | None,
        typer.Option(help="Fit only on rows whose path has this prefix; transform all rows."),
    ] = None,
    every: Annotated[
        str | None, typer.Option(help="Repeat at this interval, such as 30m, 1h or 1d.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read all rows, and refit even if nothing changed.")
    ] = False,
    max_drift: Annotated[
        list[str] | None,
        typer.Option(
            help="Drift threshold NAME=NUMBER; repeatable (default: angle=15, shift=0.5, label=1)."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Refit to measure drift against (default: the previous scheduled refit).",
            metavar="REFIT",
        ),
    ] = None,
    fail_on_drift: Annotated[
        bool,
        typer.Option("--fail-on-drift", help="Exit with code 3 if a drift threshold is exceeded."),
    ] = False,
    skip_empty: Annotated[
        bool,
        typer.Option(
            "--skip-empty",
            help="Exit with code 0 if the lake does not exist yet or has fewer than 2 rows.",
        ),
    ] = False,
    glue_database: GlueDatabase = None,
    as_json: Json = False,
) -> None:
    """Fit StandardScaler and PCA, and publish reduced vectors.

    Example: pomona refit ./lake --components 50
    """
    # Read when NumPy is imported. The threads of OpenBLAS spin while they wait for each other: on two busy cores, the
    # eigendecomposition of 1280 columns takes 6 to 10 s with two threads, and 0.7 to 1.2 s with one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from batch_pca.refit import RefitOptions
    from batch_pca.refits.glue import check_database
    from streaming.lake.layout import Lake

    if glue_database is not None:
        check_database(Lake.at(lake), glue_database)
    if every and as_of:
        raise UsageError("--every and --as-of cannot be combined: --as-of selects a fixed version")
    options = RefitOptions(
        fit=fit_options(components, variance),
        as_of=as_of,
        fit_on=fit_on,
        full=full,
        drift=drift_thresholds(max_drift or ()),
        baseline=baseline,
    )
    run = partial(refit_every, every=every) if every else refit_once
    run(
        lake,
        options,
        fail_on_drift=fail_on_drift,
        skip_empty=skip_empty,
        glue_database=glue_database,
        as_json=as_json,
    )


def fit_options(components: int | None, variance: float | None) -> FitOptions:
    """Return the options of a fit; UsageError, which names the option, for values that are out of range."""
    from batch_pca.pca.fit import FitOptions

    if components is None:
        variance = 0.95 if variance is None else variance
        if not 0 < variance <= 1:
            raise UsageError(
                f"--variance {variance:g}: give a ratio above 0, up to 1, such as 0.95"
            )
    elif variance is not None:
        raise UsageError("--components and --variance cannot be combined: omit one")
    elif components < 1:
        raise UsageError(f"--components {components}: give 1 or more")
    return FitOptions(components, variance)


def drift_thresholds(texts: Sequence[str]) -> DriftThresholds:
    """Parse thresholds such as ``angle=15``; raise UsageError for an unknown name or a bad number."""
    from batch_pca.refits.drift import DriftThresholds

    *first, last = DriftThresholds.names()
    names = f"{', '.join(first)} or {last}"
    thresholds: dict[str, float] = {}
    for text in texts:
        name, _, threshold = text.partition("=")
        try:
            if name not in DriftThresholds.names():
                raise ValueError
            thresholds[name] = float(threshold)
        except ValueError:
            raise UsageError(
                f"--max-drift {text}: expected NAME=NUMBER with NAME {names}, such as angle=15"
            ) from None
    return DriftThresholds(**thresholds)


def refit_once(
    lake: str,
    options: RefitOptions,
    *,
    fail_on_drift: bool = False,
    skip_empty: bool = False,
    glue_database: str | None = None,
    as_json: bool,
) -> None:
    """Refit once, register the tables if a database is given, and print the result.

    With `skip_empty`, a lake that does not exist yet or has too few rows is reported, and is no error.

    Raises
    ------
    ThresholdExceeded
        If `fail_on_drift` is set and a drift threshold is exceeded. The refit is published nevertheless.
    """
    from batch_pca.refit import refit
    from batch_pca.refits.glue import register_tables
    from pomona.output.console import Console, print_error
    from streaming.lake.layout import Lake

    console = Console(as_json=as_json)
    with console.status("refitting"):
        if skip_empty and not _exists(lake):
            return print_error(f"refit skipped: {lake} has no features yet")
        try:
            result = refit(lake, options)
        except TooFewRowsError as error:
            if not skip_empty:
                raise
            return print_error(f"refit skipped: {error}")
        if glue_database is not None:
            register_tables(Lake.at(lake), glue_database)
    if as_json:
        console.print_json(refit_json(result))
    else:
        for line in refit_lines(result):
            console.print(line)
    if fail_on_drift and result.row.drift_exceeded:
        raise ThresholdExceeded(
            f"refit {result.refit_id} exceeds the drift threshold: {result.row.drift_exceeded}"
        )


def _exists(lake: str) -> bool:
    """Return whether there is a lake; if not, Spark has been started.

    In cluster mode, YARN reports an application as failed if it ends without a SparkContext.
    """
    from streaming.lake.layout import Lake
    from streaming.spark.session import start_session
    from streaming.storage.interface import is_s3

    opened = Lake.at(lake)
    try:
        opened.validate()
    except LakeError:
        if opened.exists():
            raise
        start_session(s3=is_s3(opened.root))
        return False
    return True


def refit_every(
    lake: str,
    options: RefitOptions,
    every: str,
    *,
    fail_on_drift: bool = False,
    skip_empty: bool = False,
    glue_database: str | None = None,
    as_json: bool,
) -> None:
    """Refit on a schedule until SIGINT or SIGTERM, or until `fail_on_drift` applies.

    If the lake has too few rows or an external error occurs, the error is printed and the next refit runs on schedule.
    If Java has ended, the command ends with the error.
    """
    from pomona.output.console import Console, print_error
    from pomona.output.durations import parse_duration
    from streaming.lake.layout import Lake
    from streaming.signals import stop_on_signals
    from streaming.spark.resource_exhaustion import java_has_ended
    from streaming.spark.session import start_session
    from streaming.storage.interface import is_s3

    seconds = parse_duration(every)
    console = Console(as_json=as_json)
    opened = Lake.at(lake)
    if not skip_empty:
        opened.validate()
    with console.status("starting Spark"):
        # Before our signal handlers, because Spark installs its own.
        start_session(s3=is_s3(opened.root))
    with stop_on_signals() as stop:
        while not stop.is_set():
            due = time.monotonic() + seconds
            try:
                refit_once(
                    lake,
                    options,
                    fail_on_drift=fail_on_drift,
                    skip_empty=skip_empty,
                    glue_database=glue_database,
                    as_json=as_json,
                )
            except (ExternalError, SnapshotError) as error:
                if java_has_ended():
                    raise
                print_error(f"refit skipped: {error}")
            if not stop.is_set() and (left := due - time.monotonic()) > 0:
                _wait_until_due(
                    console, due, datetime.now().astimezone() + timedelta(seconds=left), stop
                )


def _wait_until_due(console: Console, due: float, at: datetime, stop: Event) -> None:
    """Wait, and show when the next refit is due."""
    from pomona.output.durations import format_elapsed

    text = f"next refit at {at:%Y-%m-%d %H:%M:%S}"

    def remaining() -> str:
        return f"{text}, in {format_elapsed(max(0.0, due - time.monotonic()))}; Ctrl-C to stop"

    with console.status(text):
        console.report_stage(text, shown=remaining)
        while time.monotonic() < due and not stop.wait(0.2):
            pass


def refit_lines(result: RefitResult) -> list[str]:
    """Render the result of a refit as lines of text."""
    from batch_pca.refits.drift import describe_drift

    row = result.row
    verb = "explains" if row.components == 1 else "explain"
    kept = f"{format_count(row.components, 'component')} {verb} {row.explained:.1%} of the variance"
    as_of = [f"as of: {result.as_of}"] if result.as_of else []
    if not result.is_new:
        return [
            *as_of,
            f"no changes since refit {row.refit_id} (features version {row.features_version}): {kept}",
            f"report: {_path_or_uri(row.folder.report)}",
        ]
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.phases.items())
    lines = [
        *as_of,
        f"refit {row.refit_id}: {format_count(row.rows, 'row')} of features version {row.features_version} "
        f"in {row.seconds:.1f} s",
        kept,
        f"statistics: {result.statistics_summary}",
        f"seconds: {phases}",
        f"drift: {describe_drift(row)}",
    ]
    if row.drift_exceeded:
        lines.append(f"drift threshold exceeded: {row.drift_exceeded}")
    if result.limited_by_rows:
        lines.append(
            f"{row.rows_fitted:,} rows allow at most {format_count(row.rows_fitted - 1, 'component')}: "
            "with more rows, more components may be needed for this variance"
        )
    return [
        *lines,
        f"CSV:     {_path_or_uri(row.folder.csv)}",
        f"Parquet: {_path_or_uri(row.folder.parquet)}",
        f"report:  {_path_or_uri(row.folder.report)}",
    ]


def refit_json(result: RefitResult) -> dict[str, Any]:
    """Render the result of a refit as a JSON document."""
    from batch_pca.refits.lineage import drift_json

    row = result.row
    return {
        "refit_id": row.refit_id,
        "is_new": result.is_new,
        "as_of": result.as_of or None,
        "features_version": row.features_version,
        "model_id": row.model_id,
        "rows": row.rows,
        "rows_fitted": row.rows_fitted,
        "components": row.components,
        "explained_variance": row.explained,
        "explained_variance_ratio": list(row.explained_variance_ratio),
        "seconds": round(row.seconds, 3),
        "phases": {name: round(seconds, 3) for name, seconds in result.phases.items()},
        "statistics": row.statistics,
        "statistics_from": row.statistics_from,
        "statistics_summary": result.statistics_summary,
        "drift": drift_json(row),
        "csv": row.folder.csv,
        "parquet": row.folder.parquet,
        "pipeline": row.folder.pipeline,
        "report": row.folder.report,
    }


def _path_or_uri(uri: str) -> str:
    """Return the path of a local URI, and any other URI as it is."""
    return uri.removeprefix("file:")
