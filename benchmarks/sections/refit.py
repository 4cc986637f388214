"""Measure rows per second of a refit: Pomona (full, and after 1 % new rows), its peers, and NumPy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.inputs.synthetic import append_rows, clone_lake, empty_lake, fictitious_images
from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import Competitor, Run, run
from benchmarks.sections.results import RunCollector, Section

COMPONENTS = "50"
#: `append_new_rows` adds one row per this many existing rows.
NEW_ROWS_DIVISOR = 100


def measure(workspace: Workspace) -> Section:
    """Run all competitors on the same synthetic rows, in turn, round by round."""
    lakes = workspace.scratch("refit")
    full = synthetic_lake(workspace, lakes / "full", workspace.size.rows)
    extended = extended_lake(workspace, full, lakes / "extended")
    collector = RunCollector()
    for number in range(workspace.size.rounds):
        for competitor in competitors(full, extended):
            collector.run(competitor, workspace, number)
    workspace.scratch("refit")  # frees the disk
    facts = {"components": int(COMPONENTS), "rows": workspace.size.rows}
    return collector.section(workspace, facts)


def competitors(full: Path, extended: Path) -> Iterator[Competitor]:
    """Yield all competitors, Pomona first.

    Parameters
    ----------
    full : Path
        A lake without a refit.
    extended : Path
        A lake with a refit and newer rows.
    """
    yield pomona("pomona", "Pomona, all rows", full)
    yield pomona("pomona_again", "Pomona, again after 1 % new rows", extended)
    features = str(full / "features")
    yield Competitor(
        "numpy_moments",
        "NumPy: XᵀX and `eigh`",
        lambda _: ("benchmarks.peers.numpy_moments", features, COMPONENTS),
    )
    yield Competitor(
        "spark_ml",
        "Spark ML: StandardScaler + PCA",
        lambda _: ("benchmarks.peers.spark_ml", features, COMPONENTS),
        ("pyspark",),
    )
    for solver in ("full", "randomized", "incremental"):
        yield scikit_learn(features, solver)


def scikit_learn(features: str, solver: str) -> Competitor:
    """Fit with scikit-learn and the given solver."""
    name = "IncrementalPCA" if solver == "incremental" else f"PCA({solver})"
    arguments = ("benchmarks.peers.sklearn_pca", features, COMPONENTS, solver)
    return Competitor(
        f"sklearn_{solver}",
        f"scikit-learn: StandardScaler + {name}",
        lambda _: arguments,
        ("sklearn",),
        secondary=True,
    )


def pomona(key: str, title: str, lake: Path) -> Competitor:
    """Run `pomona refit` on a copy of a lake."""

    def arguments(folder: Path) -> Sequence[str]:
        """Copy the lake and return the arguments of the command."""
        return refit_arguments(clone_lake(lake, folder / "lake"))

    return Competitor(key, title, arguments, ("pyspark",), parse_refit)


def refit_in_place(key: str, lake: Path) -> Competitor:
    """Run `pomona refit` on the lake itself."""
    return Competitor(key, key, lambda _: refit_arguments(lake), ("pyspark",), parse_refit)


def refit_arguments(lake: Path) -> tuple[str, ...]:
    """Return the arguments of `python -m` for a refit."""
    return ("pomona.cli", "refit", str(lake), "--components", COMPONENTS, "--json")


def parse_refit(out: str, _started: float, _folder: Path) -> Run:
    """Return the duration of the fit (read, statistics, decomposition) and of the whole refit with publishing."""
    summary = json.loads(out)
    phases = summary.get("phases") or {}
    fit = phases.get("statistics", 0) + phases.get("decomposition", 0)
    return {
        "count": summary["rows"],
        "seconds": fit or summary["seconds"],
        "whole": summary["seconds"],
        "phases": phases,
        "statistics": summary.get("statistics", "full"),
        "explained": summary["explained_variance"],
    }


def synthetic_lake(workspace: Workspace, folder: Path, rows: int) -> Path:
    """Create a lake with `rows` synthetic rows."""
    lake = empty_lake(workspace.models().parent, folder)
    step = 100_000
    for start in range(0, rows, step):
        append_rows(lake, fictitious_images(min(step, rows - start), start), seed=start)
    return lake


def append_new_rows(lake: Path, rows: int) -> None:
    """Append 1 % new rows to a lake of `rows` rows."""
    images = fictitious_images(max(1, rows // NEW_ROWS_DIVISOR), start=rows)
    append_rows(lake, images, seed=rows + 1)


def extended_lake(workspace: Workspace, full: Path, folder: Path) -> Path:
    """Copy a lake, refit the copy once, and append 1 % new rows.

    Raises
    ------
    RuntimeError
        If the refit fails; with its error message.
    """
    lake = clone_lake(full, folder)
    first = run(refit_in_place("first", lake), workspace.work)
    if "skipped" in first:
        raise RuntimeError(first["skipped"])
    append_new_rows(lake, workspace.size.rows)
    return lake
