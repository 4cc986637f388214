"""The plots of `BENCHMARKS.md`, as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.results import Section

_SIZE, _DPI = (6.4, 3.6), 110


def draw(growth: Section, folder: Path) -> list[str]:
    """Draw both curves.

    Returns
    -------
    list of str
        Names of the files in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batches = {float(count): seconds for count, seconds in growth["micro_batches"].items()}
    title = f"A micro-batch of {growth['arrivals']} new images"
    _plot(
        {"from arrival to the last row": batches},
        (title, "files that the prefix holds already"),
        folder / "micro_batch.png",
    )
    curves: dict[str, dict[float, float]] = {}
    for rows, runs in growth["refits"].items():
        for key, name in (("full", "all rows"), ("again", "again, after 1 % new rows")):
            for value, what in (("seconds", "fit"), ("whole", "fit and publish")):
                if value in runs[key]:
                    curves.setdefault(f"{name}: {what}", {})[float(rows)] = runs[key][value]
    _plot(curves, ("A refit", "rows of features"), folder / "refit.png")
    return ["micro_batch.png", "refit.png"]


def _plot(curves: Mapping[str, Mapping[float, float]], words: tuple[str, str], file: Path) -> None:
    """Seconds of each curve; `words` are the title and what is counted."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=_SIZE, dpi=_DPI, layout="constrained")
    for name, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")  # what grows in proportion is a straight line, and looks it
    axes.set_title(words[0])
    axes.set_xlabel(words[1])
    axes.set_ylabel("seconds")
    axes.grid(alpha=0.3)
    if curves:
        figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    # Without the time and the version in it, the same figures give the same file.
    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)
