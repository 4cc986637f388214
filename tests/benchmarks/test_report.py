"""Tests for the benchmarks' report: every figure and ratio in it is the one that a hand would compute.

Nothing here is timed.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ten_million
from benchmarks.report import render
from benchmarks.targets import ABSENT, Target, notebook_rate, targets


def one(count: int, seconds: float, **more: Any) -> dict[str, Any]:
    """A run."""
    memory = {"worker_rss": 250.0, "worker_pss": 200.0, "all_pss": 1500.0}
    return {"count": count, "seconds": seconds, "startup": 9.0} | memory | more


def section(runs: dict[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    """A section of made-up figures; a contestant without runs was skipped."""
    machine = {"processor": "a processor", "cores": "2", "memory": "8 GiB", "system": "an OS"}
    contestants = {
        key: {"title": f"title of {key}", "runs": found, "skipped": None if found else "no reason"}
        for key, found in runs.items()
    }
    head = {"size": "full", "rounds": 3, "measured_at": "2026-03-03T08:30:00+00:00"}
    return (
        head
        | {"machine": machine, "versions": {"python": "3.11"}, "contestants": contestants}
        | more
    )


@pytest.fixture
def sections() -> dict[str, Any]:
    featurize = {
        # Medians: 150, 180 and 12 images a second.
        "pomona_onnxruntime": [one(12_000, 80.0), one(12_000, 100.0), one(12_000, 60.0)],
        "pomona_openvino_bfloat16": [],
        "plain_processes": [one(12_000, 12_000 / 180)],
        "notebook_400": [one(400, 60.0)],
        "notebook": [one(1_200, 100.0)],
    }
    refit = {
        "pomona": [
            one(100_000, 4.0, whole=20.0, statistics="full", explained=0.9, phases={"a": 1})
        ],
        "pomona_again": [
            one(101_000, 1.0, whole=17.0, statistics="incremental", explained=0.9, phases={"a": 1})
        ],
        "numpy_moments": [one(100_000, 2.5, explained=0.9)],
        "spark_ml": [one(100_000, 60.0, explained=0.9)],
    }
    first = {
        "pomona": [one(1, 15.0, breakdown={"start": 11.0, "row": 4.0})],
        "plain": [one(1, 12.0)],
    }
    run_of = {"full": {"seconds": 3.0, "whole": 9.0}, "again": {"seconds": 1.0, "whole": 5.0}}
    more = {"full": {"seconds": 12.0, "whole": 60.0}, "again": {"skipped": "out of luck"}}
    return {
        "featurize": section(featurize, images_told="drawn", weights_told="random"),
        "refit": section(refit, components=50, rows=100_000),
        "first_row": section(first, rows=200),
        "latency": section(
            {},
            words="--trigger 1",
            warm=[3.0, 2.5],
            samples=[1.0, 1.5, 3.0],
            bare=[0.5, 0.9],
            skipped=None,
        ),
        "growth": section(
            {},
            arrivals=100,
            micro_batches={"1000": 2.0, "100000": 3.98},
            refits={"10000": run_of, "100000": more},
            left_out=["1,000,000 rows: 3 GiB of disk are too few"],
        ),
    }


def test_the_targets_are_computed_as_by_hand(sections: dict[str, Any]) -> None:
    found = {target.what: target for target in targets(sections)}
    told = {what: (target.measured, target.reached) for what, target in found.items()}
    assert told == {
        "stream / decode + engine without Spark": ("0.833", False),
        # 400 images took 60 s and 1,200 took 100 s: 0.05 s each and 40 s in any case, so 640 s for 12,000.
        "stream in float32 / the notebook's way, at as many": ("8", False),
        # Those 1,200 by themselves: 12 a second.
        "stream in float32 / the notebook's way, at the images it took": ("12.5", True),
        "stream in bfloat16 / the notebook's way, at as many": (ABSENT, None),
        "refit / Spark ML, seconds": ("0.0667", True),
        "refit / NumPy, seconds": ("1.6", True),
        "refit after 1 % new rows / Spark ML, seconds": ("0.0167", True),
        "memory of one Python worker (RSS)": ("250 MB", True),
        "first row in a warm lake / plain Spark, seconds": ("1.25", True),
        "file written to row visible, median": ("1.50 s", True),
    }
    assert found["file written to row visible, median"].asked == "≤ 2 s"
    sections["latency"]["bare"] = [1.5]
    assert targets(sections)[-1].asked == "≤ 3 s"


def test_nothing_measured_reaches_nothing() -> None:
    assert [(target.measured, target.reached) for target in targets({})] == [(ABSENT, None)] * 10
    assert "Not measured yet." in render({})


def test_a_target_is_reached_at_its_bound() -> None:
    assert Target.at_least("", 0.85, 0.85).reached
    assert not Target.at_least("", 0.85, 0.8499).reached
    assert Target.at_most("", 1.5, 1.5).reached
    assert not Target.at_most("", 1.5, 1.51).reached


def test_one_number_of_images_gives_the_notebooks_plain_rate(sections: dict[str, Any]) -> None:
    del sections["featurize"]["contestants"]["notebook_400"]
    assert notebook_rate(sections["featurize"]) == 12


def test_the_report_shows_every_figure_and_every_reason(sections: dict[str, Any]) -> None:
    text = render(sections)
    assert (
        "| title of pomona_onnxruntime | 12,000 | 150.0 | 1.00 | 9.00 s | 250 | 200 | 1,500 |"
        in text
    )
    assert "| title of plain_processes | 12,000 | 180.0 | 1.20 |" in text
    assert "| title of pomona_openvino_bfloat16 | skipped: no reason |" in text
    assert "| title of pomona_again (incremental) | 101,000 | 1.00 s | 0.25 | 17.00 s |" in text
    assert "| … start | 11.00 s |" in text
    assert "| 100,000 | 12.00 s | 60.00 s | skipped: out of luck |  |" in text
    assert "1,000,000 rows: 3 GiB of disk are too few" in text
    assert "{" not in text
    assert "a processor, 2 cores, 8 GiB, an OS" in text


def test_tables_have_as_many_cells_in_each_row(sections: dict[str, Any]) -> None:
    lines = render(sections).splitlines()
    for above, line in pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") == line.count("|"), line


def test_the_arithmetic_to_ten_million_images(sections: dict[str, Any]) -> None:
    steps = {what: result for what, _, result in ten_million.steps(sections)}
    assert steps == {
        "images a second of a core": "75",
        "all images, once": "0.6 hours",
        "the features table": "40 GB",
        "a file that the prefix holds adds to each micro-batch": "20.0 µs",
        "a micro-batch of 100 images over all of them": "202 s",
        "a row adds to a refit": "200 µs of a core",
        "a refit of all rows": "33.2 s",
        "after 1 % new rows": "2.3 s",
    }


@pytest.mark.slow
def test_the_plots_are_drawn(sections: dict[str, Any], tmp_path: Path) -> None:
    from benchmarks.plots import draw

    for name in draw(sections["growth"], tmp_path):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
