"""Rows a second of a refit: Pomona's, full and after 1 % new rows, its peers', and NumPy's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.contestants import Contestant, Run, run
from benchmarks.drawn import add_rows, clone, empty_lake, made_up
from benchmarks.results import Section, Table
from benchmarks.workplace import Workplace

COMPONENTS = "50"
#: One new row for so many old ones.
SHARE = 100


def measure(place: Workplace) -> Section:
    """Run all contestants on the same drawn rows, in turn, round after round."""
    lakes = place.scratch("refit")
    full = drawn_lake(place, lakes / "full", place.size.rows)
    grown = grown_lake(place, full, lakes / "grown")
    table = Table()
    for number in range(place.size.rounds):
        for contestant in contestants(full, grown):
            table.run(contestant, place, number)
    place.scratch("refit")  # frees the disk
    return table.section(place, {"components": int(COMPONENTS), "rows": place.size.rows})


def contestants(full: Path, grown: Path) -> Iterator[Contestant]:
    """All of them, Pomona first.

    Parameters
    ----------
    full : Path
        A lake that was never fitted.
    grown : Path
        One that was, and has new rows since.
    """
    yield pomona("pomona", "Pomona, all rows", full)
    yield pomona("pomona_again", "Pomona, again after 1 % new rows", grown)
    features = str(full / "features")
    yield Contestant(
        "numpy_moments",
        "NumPy: XᵀX and `eigh`",
        lambda _: ("benchmarks.peers.numpy_moments", features, COMPONENTS),
    )
    yield Contestant(
        "spark_ml",
        "Spark ML: StandardScaler + PCA",
        lambda _: ("benchmarks.peers.spark_ml", features, COMPONENTS),
        ("pyspark",),
    )
    for solver in ("full", "randomized", "incremental"):
        yield scikit_learn(features, solver)


def scikit_learn(features: str, solver: str) -> Contestant:
    """scikit-learn with one of its solvers."""
    name = "IncrementalPCA" if solver == "incremental" else f"PCA({solver})"
    words = ("benchmarks.peers.sklearn_pca", features, COMPONENTS, solver)
    return Contestant(
        f"sklearn_{solver}",
        f"scikit-learn: StandardScaler + {name}",
        lambda _: words,
        ("sklearn",),
        aside=True,
    )


def pomona(key: str, title: str, lake: Path) -> Contestant:
    """`pomona refit` on a copy of a lake."""

    def words(folder: Path) -> Sequence[str]:
        return command(clone(lake, folder / "lake"))

    return Contestant(key, title, words, ("pyspark",), read_refit)


def command(lake: Path) -> tuple[str, ...]:
    """What follows `python -m`."""
    return ("pomona.cli", "refit", str(lake), "--components", COMPONENTS, "--json")


def read_refit(out: str, _started: float, _folder: Path) -> Run:
    """Seconds of the fit (reading, statistics, decomposition) and of the whole refit, publishing included."""
    told = json.loads(out)
    phases = told.get("phases") or {}
    fit = phases.get("statistics", 0) + phases.get("decomposition", 0)
    return {
        "count": told["rows"],
        "seconds": fit or told["seconds"],
        "whole": told["seconds"],
        "phases": phases,
        "statistics": told.get("statistics", "full"),
        "explained": told["explained_variance"],
    }


def drawn_lake(place: Workplace, folder: Path, rows: int) -> Path:
    """A lake with so many drawn rows."""
    ready = place.models().parent
    lake = empty_lake(ready, folder)
    step = 100_000
    for start in range(0, rows, step):
        add_rows(lake, made_up(min(step, rows - start), start), seed=start)
    return lake


def in_place(key: str, lake: Path) -> Contestant:
    """`pomona refit` on a lake itself."""
    return Contestant(key, key, lambda _: command(lake), ("pyspark",), read_refit)


def grow(lake: Path, rows: int) -> None:
    """Append 1 % new rows to a lake that has so many."""
    add_rows(lake, made_up(max(1, rows // SHARE), start=rows), seed=rows + 1)


def grown_lake(place: Workplace, full: Path, folder: Path) -> Path:
    """A copy that has been fitted once, and has 1 % new rows since.

    Raises
    ------
    RuntimeError
        Where Pomona refuses to fit, with its line.
    """
    lake = clone(full, folder)
    done = run(in_place("first", lake), place.work)
    if "skipped" in done:
        raise RuntimeError(done["skipped"])
    grow(lake, place.size.rows)
    return lake
