"""Extrapolate the measured figures to ten million images on a cluster, showing each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.sections.results import Section, rate

IMAGES = 10_000_000
#: A cluster of 16 workers with 4 cores each.
CORES = 64
#: Bytes per row: 1280 float32 values, half of them 0, as Parquet.
_ROW_BYTES = 4_000

Step = tuple[str, str, str]


def steps(sections: Mapping[str, Section]) -> Iterator[Step]:
    """Yield name, arithmetic and result of each step for which there are measurements."""
    featurize, scaling = sections.get("featurize"), sections.get("scaling")
    if featurize and (images := rate(featurize, "pomona_onnxruntime")):
        cores = int(featurize["machine"]["cores"])
        per_core = images / cores
        hours = IMAGES / per_core / CORES / 3600
        yield "images/s per core", f"{images:.0f} / {cores} cores", f"{per_core:.0f}"
        yield (
            "all images once",
            f"{IMAGES:,} / ({per_core:.0f} × {CORES} cores) / 3,600",
            f"{hours:.1f} hours",
        )
    yield (
        "size of the features table",
        f"{IMAGES:,} × {_ROW_BYTES:,} bytes",
        f"{IMAGES * _ROW_BYTES / 1e9:.0f} GB",
    )
    if scaling:
        yield from _listing(scaling)
        yield from _refits(scaling)


def slope(points: Mapping[float, float]) -> tuple[float, float]:
    """Return the cost per item and the fixed cost, from the points with the fewest and the most items."""
    (few, low), (many, high) = min(points.items()), max(points.items())
    each = (high - low) / (many - few) if many > few else 0.0
    return each, low - few * each


def _listing(scaling: Section) -> Iterator[Step]:
    points = {float(count): seconds for count, seconds in scaling["micro_batches"].items()}
    if len(points) < 2:
        return
    each, fixed = slope(points)
    (few, low), (many, high) = min(points.items()), max(points.items())
    yield (
        "cost of each file in the prefix per micro-batch",
        f"({high:.2f} - {low:.2f}) s / ({many:,.0f} - {few:,.0f}) files",
        f"{each * 1e6:.1f} µs",
    )
    total = max(0.0, fixed) + max(0.0, each) * IMAGES
    arithmetic = f"{max(0.0, fixed):.2f} s + {IMAGES:,} × {max(0.0, each) * 1e6:.1f} µs"
    yield (
        f"micro-batch of {scaling['arrivals']} images with all files in the prefix",
        arithmetic,
        f"{total:.0f} s",
    )


def _refits(scaling: Section) -> Iterator[Step]:
    runs = {float(rows): result["full"] for rows, result in scaling["refits"].items()}
    points = {rows: run["seconds"] for rows, run in runs.items() if "seconds" in run}
    if len(points) < 2:
        return
    cores = int(scaling["machine"]["cores"])
    each, fixed = slope(points)
    (few, low), (many, high) = min(points.items()), max(points.items())
    yield (
        "cost of each row in a refit",
        f"({high:.1f} - {low:.1f}) s / ({many:,.0f} - {few:,.0f}) rows × {cores} cores",
        f"{each * cores * 1e6:.0f} µs of one core",
    )
    for name, rows in (("refit of all rows", IMAGES), ("refit after 1 % new rows", IMAGES // 100)):
        seconds = max(0.0, fixed) + rows * max(0.0, each) * cores / CORES
        arithmetic = (
            f"{max(0.0, fixed):.1f} s + {rows:,} × {each * cores * 1e6:.0f} µs / {CORES} cores"
        )
        yield name, arithmetic, f"{seconds:.1f} s"
