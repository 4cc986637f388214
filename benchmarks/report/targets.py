"""Performance targets, compared with the measured figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.sections.results import Section, median_of, rate

Sections = Mapping[str, Section]
#: Competitors that users could run without Pomona, except the notebook.
PEERS = ("predict_batch_udf", "ray_data", "daft_peer")
#: Shown instead of a figure that was not measured.
ABSENT = "–"


@dataclass(frozen=True)
class Target:
    """A performance target.

    Attributes
    ----------
    what : str
    bound : str
        The bound with its unit.
    measured : str
        The figure with its unit; a dash if it was not measured.
    reached : bool or None
        None if it was not measured.
    """

    what: str
    bound: str
    measured: str
    reached: bool | None

    @classmethod
    def at_least(cls, what: str, bound: float, value: float | None) -> Target:
        """Create a target for a ratio with a lower bound."""
        return cls(what, f"≥ {bound:g}", _ratio(value), None if value is None else value >= bound)

    @classmethod
    def at_most(cls, what: str, bound: float, value: float | None, unit: str = "") -> Target:
        """Create a target for a ratio, or for a value with a unit, with an upper bound."""
        measured = _ratio(value) if not unit or value is None else f"{value:.2f} {unit}"
        if unit == "MB" and value is not None:
            measured = f"{value:.0f} MB"
        limit = f"≤ {bound:.3g} {unit}".rstrip()
        return cls(what, limit, measured, None if value is None else value <= bound)


def targets(sections: Sections) -> list[Target]:
    """Return all targets in the order of the report."""
    return [
        *_featurize(sections.get("featurize")),
        *_refit(sections.get("refit")),
        *_memory(sections.get("featurize")),
        *_first_row(sections.get("first_row")),
        *_latency(sections.get("latency")),
        *_idle(sections.get("idle")),
    ]


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Return the quotient, or None if one of the values is missing."""
    return numerator / denominator if numerator and denominator else None


def _featurize(section: Section | None) -> list[Target]:
    results = section or {"competitors": {}}
    pomona, notebook = rate(results, "pomona_onnxruntime"), notebook_rate(results)
    int8 = rate(results, "pomona_openvino_int8")
    fastest_peer = max((rate(results, peer) or 0.0 for peer in PEERS), default=0.0)
    return [
        Target.at_least(
            "stream / decode + engine without Spark",
            0.85,
            ratio(pomona, rate(results, "plain_processes")),
        ),
        Target.at_least(
            "stream in float32 / notebook, as measured",
            10,
            ratio(pomona, rate(results, "notebook")),
        ),
        Target.at_least("stream in float32 / notebook, extrapolated", 10, ratio(pomona, notebook)),
        Target.at_least("stream in int8 / stream in float32", 1.7, ratio(int8, pomona)),
        Target.at_least("stream in int8 / notebook, extrapolated", 15, ratio(int8, notebook)),
        Target.at_least("stream in int8 / fastest peer", 1.8, ratio(int8, fastest_peer)),
    ]


def notebook_rate(section: Section) -> float | None:
    """Return the notebook's images per second, extrapolated to the number of images that Pomona processed.

    The notebook has a fixed cost, building a model in each of 20 tasks, which weighs less the more images there are.
    Runs with two numbers of images separate the fixed cost from the cost per image.
    """
    competitors = section["competitors"]
    keys = [key for key in competitors if key.startswith("notebook") and competitors[key]["runs"]]
    if not keys:
        return None
    points = sorted(
        (median_of(section, k, "count") or 0, median_of(section, k, "seconds") or 0) for k in keys
    )
    (few, short), (many, long) = points[0], points[-1]
    if len(points) < 2 or long <= short:
        return many / long
    per_image = (long - short) / (many - few)
    images = median_of(section, "pomona_onnxruntime", "count") or many
    return images / (max(0.0, short - few * per_image) + images * per_image)


def _refit(section: Section | None) -> list[Target]:
    results = section or {"competitors": {}}
    seconds = {
        k: median_of(results, k, "seconds")
        for k in ("pomona", "pomona_again", "spark_ml", "numpy_moments")
    }
    pomona = seconds["pomona"]
    return [
        Target.at_most("refit / Spark ML, seconds", 0.1, ratio(pomona, seconds["spark_ml"])),
        Target.at_most("refit / NumPy, seconds", 2, ratio(pomona, seconds["numpy_moments"])),
        Target.at_most(
            "refit after 1 % new rows / Spark ML, seconds",
            0.02,
            ratio(seconds["pomona_again"], seconds["spark_ml"]),
        ),
    ]


def _memory(section: Section | None) -> list[Target]:
    rss = median_of(section or {"competitors": {}}, "pomona_onnxruntime", "worker_rss")
    return [Target.at_most("memory of one Python worker (RSS)", 400, rss, "MB")]


def _first_row(section: Section | None) -> list[Target]:
    results = section or {"competitors": {}}
    pomona, plain = median_of(results, "pomona", "seconds"), median_of(results, "plain", "seconds")
    return [
        Target.at_most(
            "first row in an existing lake / plain Spark, seconds", 1.5, ratio(pomona, plain)
        )
    ]


def _latency(section: Section | None) -> list[Target]:
    results = section or {}
    pomona = median(results["samples"]) if results.get("samples") else None
    bound = max(2.0, 2 * median(results["bare"])) if results.get("bare") else 2.0
    return [Target.at_most("file written to row visible, median", bound, pomona, "s")]


def _idle(section: Section | None) -> list[Target]:
    share = 100 * section["shares"]["manifests"] if section else None
    return [Target.at_most("a stream that waits for images, of one core", 2, share, "%")]


def _ratio(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3g}"
