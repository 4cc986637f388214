"""Draw the plots of `BENCHMARKS.md` as PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.sections.results import Section

_SIZE, _DPI = (6.4, 3.6), 110


def draw(scaling: Section, folder: Path) -> list[str]:
    """Draw the scaling curves of micro-batches and refits.

    Returns
    -------
    list of str
        File names within the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batches = {float(count): seconds for count, seconds in scaling["micro_batches"].items()}
    title = f"Micro-batch of {scaling['arrivals']} new images"
    _plot(
        {"arrival to last row": batches},
        title=title,
        x_label="files in the prefix",
        file=folder / "micro_batch.png",
    )
    curves: dict[str, dict[float, float]] = {}
    for rows, runs in scaling["refits"].items():
        for key, name in (("full", "all rows"), ("again", "again, after 1 % new rows")):
            for value, what in (("seconds", "fit"), ("whole", "fit and publishing")):
                if value in runs[key]:
                    curves.setdefault(f"{name}: {what}", {})[float(rows)] = runs[key][value]
    _plot(curves, title="Refit", x_label="rows of features", file=folder / "refit.png")
    return ["micro_batch.png", "refit.png"]


def _plot(
    curves: Mapping[str, Mapping[float, float]], *, title: str, x_label: str, file: Path
) -> None:
    """Plot the seconds of each curve over its counts, both on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=_SIZE, dpi=_DPI, layout="constrained")
    for name, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")  # proportional growth shows as a straight line
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel("seconds")
    axes.grid(alpha=0.3)
    if curves:
        figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    # Leave out time and version, so that the same figures give the same file.

    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)
