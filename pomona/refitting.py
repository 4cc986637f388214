"""`pomona refit`: once, or on a schedule that skips what has not changed."""

from __future__ import annotations

import time
from typing import Any

from batch_pca.catalog import PublishedRefit
from batch_pca.refit import RefitOptions, refit
from pomona.durations import parse_duration
from pomona.screen import Screen
from streaming.errors import FaultError, SnapshotError
from streaming.stopping import stop_requested


def refit_and_tell(lake: str, options: RefitOptions, *, as_json: bool) -> PublishedRefit:
    """Refit once, and say what came of it."""
    screen = Screen(as_json=as_json)
    with screen.working("refitting"):
        made = refit(lake, options)
    if as_json:
        screen.show(refit_json(made))
    else:
        for line in refit_lines(made):
            screen.line(line)
    return made


def refit_every(lake: str, options: RefitOptions, every: str, *, as_json: bool) -> None:
    """Refit on a schedule until SIGINT or SIGTERM.

    A lake that has too few rows yet, or a fault that may pass, is told and tried again next time.
    """
    seconds = parse_duration(every)
    screen = Screen(as_json=as_json)
    from streaming.lake import Lake
    from streaming.session import start_session
    from streaming.storage import is_s3

    at = Lake.at(lake)
    at.require()
    start_session(s3=is_s3(at.root))  # its own handlers of signals come before ours
    with stop_requested() as stop:
        while not stop.is_set():
            due = time.monotonic() + seconds
            try:
                refit_and_tell(lake, options, as_json=as_json)
            except (FaultError, SnapshotError) as error:
                screen.line(f"no refit this time: {error}")
            while time.monotonic() < due and not stop.wait(0.2):
                pass


def refit_lines(made: PublishedRefit) -> list[str]:
    """What a refit did, for people."""
    kept = f"{made.components} components explain {made.explained:.1%} of the variance"
    if not made.is_new:
        return [
            f"nothing has changed since refit {made.refit_id} "
            f"(features version {made.features_version}): {kept}",
            f"report: {_place(made.folder.report)}",
        ]
    lines = [
        f"refit {made.refit_id}: {made.rows:,} rows of features version {made.features_version} "
        f"in {made.seconds:.1f} s",
        kept,
        f"statistics: {made.statistics_remark}",
        "seconds: " + ", ".join(f"{name} {took:.1f}" for name, took in made.phases.items()),
    ]
    if made.limited_by_rows:
        lines.append(
            f"the number of rows ({made.rows_fitted:,}), not the data, limits the components"
        )
    return [
        *lines,
        f"CSV:     {_place(made.folder.csv)}",
        f"Parquet: {_place(made.folder.parquet)}",
        f"report:  {_place(made.folder.report)}",
    ]


def refit_json(made: PublishedRefit) -> dict[str, Any]:
    """The same, for a script."""
    return {
        "refit_id": made.refit_id,
        "is_new": made.is_new,
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
        "csv": made.folder.csv,
        "parquet": made.folder.parquet,
        "pipeline": made.folder.pipeline,
        "report": made.folder.report,
    }


def _place(uri: str) -> str:
    return uri.removeprefix("file:")
