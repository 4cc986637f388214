"""The figures asked for, beside the figures measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.results import Section, middle, rate

Sections = Mapping[str, Section]
#: What stands for a figure that was not measured.
ABSENT = "–"


@dataclass(frozen=True)
class Target:
    """One of them.

    Attributes
    ----------
    what : str
    asked : str
    measured : str
        With its unit; a dash where nothing was measured.
    reached : bool or None
        None where nothing was measured.
    """

    what: str
    asked: str
    measured: str
    reached: bool | None

    @classmethod
    def at_least(cls, what: str, bound: float, found: float | None) -> Target:
        """A ratio that should be large."""
        return cls(what, f"≥ {bound:g}", _ratio(found), None if found is None else found >= bound)

    @classmethod
    def at_most(cls, what: str, bound: float, found: float | None, unit: str = "") -> Target:
        """A ratio, or a value with a unit, that should be small."""
        told = _ratio(found) if not unit or found is None else f"{found:.2f} {unit}"
        if unit == "MB" and found is not None:
            told = f"{found:.0f} MB"
        asked = f"≤ {bound:.3g} {unit}".rstrip()
        return cls(what, asked, told, None if found is None else found <= bound)


def targets(sections: Sections) -> list[Target]:
    """All of them, in the order in which they were asked for."""
    return [
        *_featurize(sections.get("featurize")),
        *_refit(sections.get("refit")),
        *_memory(sections.get("featurize")),
        *_first_row(sections.get("first_row")),
        *_latency(sections.get("latency")),
    ]


def ratio(one: float | None, other: float | None) -> float | None:
    """One by the other; None where one of them is missing."""
    return one / other if one and other else None


def _featurize(section: Section | None) -> list[Target]:
    found = section or {"contestants": {}}
    ours, notebook = rate(found, "pomona_onnxruntime"), notebook_rate(found)
    bfloat16 = rate(found, "pomona_openvino_bfloat16")
    return [
        Target.at_least(
            "stream / decode + engine without Spark",
            0.85,
            ratio(ours, rate(found, "plain_processes")),
        ),
        Target.at_least(
            "stream in float32 / the notebook's way, at the images it took",
            10,
            ratio(ours, rate(found, "notebook")),
        ),
        Target.at_least(
            "stream in float32 / the notebook's way, at as many", 10, ratio(ours, notebook)
        ),
        Target.at_least(
            "stream in bfloat16 / the notebook's way, at as many", 15, ratio(bfloat16, notebook)
        ),
    ]


def notebook_rate(section: Section) -> float | None:
    """Images a second of the notebook's way at the number of images that Pomona took.

    Its fixed cost, building a model in each of 20 tasks, weighs less the more images there are: it is told apart by
    two numbers of images, and spread over all.
    """
    contestants = section["contestants"]
    keys = [key for key in contestants if key.startswith("notebook") and contestants[key]["runs"]]
    if not keys:
        return None
    points = sorted(
        (middle(section, k, "count") or 0, middle(section, k, "seconds") or 0) for k in keys
    )
    (few, short), (many, long) = points[0], points[-1]
    if len(points) < 2 or long <= short:
        return many / long
    a_image = (long - short) / (many - few)
    images = middle(section, "pomona_onnxruntime", "count") or many
    return images / (max(0.0, short - few * a_image) + images * a_image)


def _refit(section: Section | None) -> list[Target]:
    found = section or {"contestants": {}}
    seconds = {
        k: middle(found, k, "seconds")
        for k in ("pomona", "pomona_again", "spark_ml", "numpy_moments")
    }
    ours = seconds["pomona"]
    return [
        Target.at_most("refit / Spark ML, seconds", 0.1, ratio(ours, seconds["spark_ml"])),
        Target.at_most("refit / NumPy, seconds", 2, ratio(ours, seconds["numpy_moments"])),
        Target.at_most(
            "refit after 1 % new rows / Spark ML, seconds",
            0.02,
            ratio(seconds["pomona_again"], seconds["spark_ml"]),
        ),
    ]


def _memory(section: Section | None) -> list[Target]:
    found = middle(section or {"contestants": {}}, "pomona_onnxruntime", "worker_rss")
    return [Target.at_most("memory of one Python worker (RSS)", 400, found, "MB")]


def _first_row(section: Section | None) -> list[Target]:
    found = section or {"contestants": {}}
    ours, plain = middle(found, "pomona", "seconds"), middle(found, "plain", "seconds")
    return [
        Target.at_most("first row in a warm lake / plain Spark, seconds", 1.5, ratio(ours, plain))
    ]


def _latency(section: Section | None) -> list[Target]:
    found = section or {}
    ours = median(found["samples"]) if found.get("samples") else None
    bound = max(2.0, 2 * median(found["bare"])) if found.get("bare") else 2.0
    return [Target.at_most("file written to row visible, median", bound, ours, "s")]


def _ratio(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3g}"
