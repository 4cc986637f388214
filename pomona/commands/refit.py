"""`pomona refit`: fit StandardScaler and PCA, once or on a schedule."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.errors import ExternalError, SnapshotError, ThresholdExceeded, UsageError

if TYPE_CHECKING:
    from batch_pca.refit import RefitOptions
    from batch_pca.refits.catalog import RefitRow
    from batch_pca.refits.drift import DriftLimits


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
        typer.Option(help="Drift thresholds (default: angle=15, shift=0.5, label=1)."),
    ] = None,
    fail_on_drift: Annotated[
        bool,
        typer.Option("--fail-on-drift", help="Exit with code 3 if a drift threshold is exceeded."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit StandardScaler and PCA, and publish reduced vectors.

    Example: pomona refit ./lake --components 50
    """
    from batch_pca.pca.fit import FitOptions
    from batch_pca.refit import RefitOptions

    if every and as_of:
        raise UsageError(
            "--every with --as-of would fit the same version again and again: drop one"
        )
    unset = components is None and variance is None
    fit = FitOptions(components, 0.95 if unset else variance)
    options = RefitOptions(fit, as_of, fit_on, full, drift_limits(max_drift or ()))
    if every:
        refit_every(lake, options, every, fail_on_drift=fail_on_drift, as_json=as_json)
    else:
        refit_once(lake, options, fail_on_drift=fail_on_drift, as_json=as_json)


def drift_limits(texts: Sequence[str]) -> DriftLimits:
    """The limits of drift, of texts such as ``angle=15``; UsageError for another."""
    from batch_pca.refits.drift import DriftLimits

    limits: dict[str, float] = {}
    for text in texts:
        name, _, limit = text.partition("=")
        try:
            if name not in DriftLimits.names():
                raise ValueError
            limits[name] = float(limit)
        except ValueError:
            raise UsageError(
                f"--max-drift {text}: give {', '.join(DriftLimits.names())} and a number, such as angle=15"
            ) from None
    return DriftLimits(**limits)


def refit_once(
    lake: str, options: RefitOptions, *, fail_on_drift: bool = False, as_json: bool
) -> RefitRow:
    """Refit once, and say what came of it; ThresholdExceeded where it has drifted and that is to be a failure."""
    from batch_pca.refit import refit
    from pomona.output.console import Console

    console = Console(as_json=as_json)
    with console.working("refitting"):
        made = refit(lake, options)
    if as_json:
        console.show(refit_json(made))
    else:
        for line in refit_lines(made):
            console.line(line)
    if fail_on_drift and made.drift_passed:
        raise ThresholdExceeded(
            f"refit {made.refit_id} exceeds the drift threshold: {made.drift_passed}"
        )
    return made


def refit_every(
    lake: str, options: RefitOptions, every: str, *, fail_on_drift: bool = False, as_json: bool
) -> None:
    """Refit on a schedule until SIGINT or SIGTERM, or until one has drifted and that is to be a failure.

    A lake that has too few rows yet, or a fault that may pass, is told and tried again next time.
    """
    from pomona.output.console import Console
    from pomona.output.durations import parse_duration
    from streaming.signals import stop_on_signals

    seconds = parse_duration(every)
    console = Console(as_json=as_json)
    from streaming.lake.layout import Lake
    from streaming.spark.session import start_session
    from streaming.storage.interface import is_s3

    at = Lake.at(lake)
    at.validate()
    start_session(s3=is_s3(at.root))  # its own handlers of signals come before ours
    with stop_on_signals() as stop:
        while not stop.is_set():
            due = time.monotonic() + seconds
            try:
                refit_once(lake, options, fail_on_drift=fail_on_drift, as_json=as_json)
            except (ExternalError, SnapshotError) as error:
                console.line(f"refit skipped: {error}")
            while time.monotonic() < due and not stop.wait(0.2):
                pass


def refit_lines(made: RefitRow) -> list[str]:
    """What a refit did, for people."""
    kept = f"{made.components} components explain {made.explained:.1%} of the variance"
    asked = [f"as of: {made.as_of}"] if made.as_of else []
    if not made.is_new:
        return [
            *asked,
            f"no changes since refit {made.refit_id} "
            f"(features version {made.features_version}): {kept}",
            f"report: {_place(made.folder.report)}",
        ]
    lines = [
        *asked,
        f"refit {made.refit_id}: {made.rows:,} rows of features version {made.features_version} "
        f"in {made.seconds:.1f} s",
        kept,
        f"statistics: {made.statistics_remark}",
        "seconds: " + ", ".join(f"{name} {took:.1f}" for name, took in made.phases.items()),
    ]
    lines.append(f"drift: {made.drift_told}")
    if made.drift_passed:
        lines.append(f"drift threshold exceeded: {made.drift_passed}")
    if made.limited_by_rows:
        lines.append(
            f"the number of components is limited by the number of rows ({made.rows_fitted:,})"
        )
    return [
        *lines,
        f"CSV:     {_place(made.folder.csv)}",
        f"Parquet: {_place(made.folder.parquet)}",
        f"report:  {_place(made.folder.report)}",
    ]


def refit_json(made: RefitRow) -> dict[str, Any]:
    """The same, for a script."""
    from batch_pca.refits.lineage import drift_json

    return {
        "refit_id": made.refit_id,
        "is_new": made.is_new,
        "as_of": made.as_of or None,
        "features_version": made.features_version,
        "model_id": made.model_id,
        "rows": made.rows,
        "rows_fitted": made.rows_fitted,
        "components": made.components,
        "explained_variance": made.explained,
        "explained_variance_ratio": list(made.explained_variance_ratio),
        "seconds": round(made.seconds, 3),
        "phases": {name: round(took, 3) for name, took in made.phases.items()},
        "statistics": made.statistics,
        "statistics_from": made.statistics_from,
        "statistics_remark": made.statistics_remark,
        "drift": drift_json(made),
        "csv": made.folder.csv,
        "parquet": made.folder.parquet,
        "pipeline": made.folder.pipeline,
        "report": made.folder.report,
    }


def _place(uri: str) -> str:
    return uri.removeprefix("file:")
