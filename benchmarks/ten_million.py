"""The arithmetic from the measured figures to ten million images on a cluster, each step shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.results import Section, rate

IMAGES = 10_000_000
#: A cluster of 16 workers with 4 cores each.
CORES = 64
#: Bytes of a row: 1280 float32, half of them 0, as Parquet.
_ROW_BYTES = 4_000

Step = tuple[str, str, str]


def steps(sections: Mapping[str, Section]) -> Iterator[Step]:
    """What, how it is computed, what comes out; only what has been measured."""
    featurize, growth = sections.get("featurize"), sections.get("growth")
    if featurize and (images := rate(featurize, "pomona_onnxruntime")):
        cores = int(featurize["machine"]["cores"])
        a_core = images / cores
        hours = IMAGES / a_core / CORES / 3600
        yield "images a second of a core", f"{images:.0f} / {cores} cores", f"{a_core:.0f}"
        yield (
            "all images, once",
            f"{IMAGES:,} / ({a_core:.0f} × {CORES} cores) / 3,600",
            f"{hours:.1f} hours",
        )
    yield (
        "the features table",
        f"{IMAGES:,} × {_ROW_BYTES:,} bytes",
        f"{IMAGES * _ROW_BYTES / 1e9:.0f} GB",
    )
    if growth:
        yield from _listing(growth)
        yield from _refits(growth)


def slope(points: Mapping[float, float]) -> tuple[float, float]:
    """What one more costs, and what none would, by the least and the greatest of the points."""
    (few, less), (many, more) = min(points.items()), max(points.items())
    each = (more - less) / (many - few) if many > few else 0.0
    return each, less - few * each


def _listing(growth: Section) -> Iterator[Step]:
    points = {float(count): seconds for count, seconds in growth["micro_batches"].items()}
    if len(points) < 2:
        return
    each, fixed = slope(points)
    (few, less), (many, more) = min(points.items()), max(points.items())
    yield (
        "a file that the prefix holds adds to each micro-batch",
        f"({more:.2f} - {less:.2f}) s / ({many:,.0f} - {few:,.0f}) files",
        f"{each * 1e6:.1f} µs",
    )
    total = max(0.0, fixed) + max(0.0, each) * IMAGES
    arithmetic = f"{max(0.0, fixed):.2f} s + {IMAGES:,} × {max(0.0, each) * 1e6:.1f} µs"
    yield (
        f"a micro-batch of {growth['arrivals']} images over all of them",
        arithmetic,
        f"{total:.0f} s",
    )


def _refits(growth: Section) -> Iterator[Step]:
    runs = {float(rows): told["full"] for rows, told in growth["refits"].items()}
    points = {rows: run["seconds"] for rows, run in runs.items() if "seconds" in run}
    if len(points) < 2:
        return
    cores = int(growth["machine"]["cores"])
    each, fixed = slope(points)
    (few, less), (many, more) = min(points.items()), max(points.items())
    yield (
        "a row adds to a refit",
        f"({more:.1f} - {less:.1f}) s / ({many:,.0f} - {few:,.0f}) rows × {cores} cores",
        f"{each * cores * 1e6:.0f} µs of a core",
    )
    for name, rows in (("a refit of all rows", IMAGES), ("after 1 % new rows", IMAGES // 100)):
        seconds = max(0.0, fixed) + rows * max(0.0, each) * cores / CORES
        arithmetic = (
            f"{max(0.0, fixed):.1f} s + {rows:,} × {each * cores * 1e6:.0f} µs / {CORES} cores"
        )
        yield name, arithmetic, f"{seconds:.1f} s"
