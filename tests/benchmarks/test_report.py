"""Tests for the benchmark report: its figures and ratios equal values computed by hand. Nothing is timed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import extrapolation
from benchmarks.report.render import render
from benchmarks.report.targets import ABSENT, Target, notebook_rate, targets


def run_result(count: int, seconds: float, **more: Any) -> dict[str, Any]:
    """Return the result of a run."""
    memory = {"worker_rss": 250.0, "worker_pss": 200.0, "all_pss": 1500.0}
    return {"count": count, "seconds": seconds, "startup": 9.0} | memory | more


def section(runs: dict[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    """Return a section with these runs; a competitor without runs was skipped."""
    machine = {"processor": "a processor", "cores": "2", "memory": "8 GiB", "system": "an OS"}
    competitors = {
        key: {"title": f"title of {key}", "runs": found, "skipped": None if found else "no reason"}
        for key, found in runs.items()
    }
    head = {"size": "full", "rounds": 3, "measured_at": "2026-03-03T08:30:00+00:00"}
    return (
        head
        | {"machine": machine, "versions": {"python": "3.11"}, "competitors": competitors}
        | more
    )


@pytest.fixture
def sections() -> dict[str, Any]:
    featurize = {
        # Medians: 150, 180 and 12 images per second.
        "pomona_onnxruntime": [
            run_result(12_000, 80.0),
            run_result(12_000, 100.0),
            run_result(12_000, 60.0),
        ],
        "pomona_openvino_bfloat16": [],
        # 240 images per second, 1.5 times the fastest peer.
        "pomona_openvino_int8": [run_result(12_000, 50.0)],
        "ray_data": [run_result(2_400, 24.0)],
        "daft_peer": [run_result(2_400, 15.0)],
        "plain_processes": [run_result(12_000, 12_000 / 180)],
        "notebook_400": [run_result(400, 60.0)],
        "notebook": [run_result(1_200, 100.0)],
    }
    refit = {
        "pomona": [
            run_result(100_000, 4.0, whole=20.0, statistics="full", explained=0.9, phases={"a": 1})
        ],
        "pomona_again": [
            run_result(
                101_000, 1.0, whole=17.0, statistics="incremental", explained=0.9, phases={"a": 1}
            )
        ],
        "numpy_moments": [run_result(100_000, 2.5, explained=0.9)],
        "spark_ml": [run_result(100_000, 60.0, explained=0.9)],
    }
    first = {
        "pomona": [run_result(1, 15.0, breakdown={"start": 11.0, "row": 4.0})],
        "plain": [run_result(1, 12.0)],
    }
    small = {"full": {"seconds": 3.0, "whole": 9.0}, "again": {"seconds": 1.0, "whole": 5.0}}
    large = {"full": {"seconds": 12.0, "whole": 60.0}, "again": {"skipped": "out of luck"}}
    return {
        "featurize": section(featurize, images_description="drawn", weights_description="random"),
        "refit": section(refit, components=50, rows=100_000),
        "first_row": section(first, rows=200),
        "latency": section(
            {},
            options="--trigger 1",
            warm=[3.0, 2.5],
            samples=[1.0, 1.5, 3.0],
            bare=[0.5, 0.9],
            skipped=None,
        ),
        "idle": section(
            {},
            images=100_000,
            folders=112,
            idle_seconds=180,
            shares={"manifests": 0.009, "binaryFile": 0.6},
        ),
        "scaling": section(
            {},
            arrivals=100,
            micro_batches={"1000": 2.0, "100000": 3.98},
            refits={"10000": small, "100000": large},
            left_out=["1,000,000 rows: skipped, only 3 GiB of disk are free"],
        ),
    }


def test_targets_equal_values_computed_by_hand(sections: dict[str, Any]) -> None:
    found = {target.what: target for target in targets(sections)}
    results = {what: (target.measured, target.reached) for what, target in found.items()}
    assert results == {
        "stream / decode + engine without Spark": ("0.833", False),
        # 400 images took 60 s and 1,200 took 100 s: 0.05 s per image plus 40 s, so 640 s for 12,000.
        "stream in float32 / notebook, extrapolated": ("8", False),
        # The 1,200 images: 12 per second.
        "stream in float32 / notebook, as measured": ("12.5", True),
        "stream in int8 / stream in float32": ("1.6", False),
        "stream in int8 / notebook, extrapolated": ("12.8", False),
        "stream in int8 / fastest peer": ("1.5", False),
        "refit / Spark ML, seconds": ("0.0667", True),
        "refit / NumPy, seconds": ("1.6", True),
        "refit after 1 % new rows / Spark ML, seconds": ("0.0167", True),
        "memory of one Python worker (RSS)": ("250 MB", True),
        "first row in an existing lake / plain Spark, seconds": ("1.25", True),
        "file written to row visible, median": ("1.50 s", True),
        "a stream that waits for images, of one core": ("0.90 %", True),
    }
    assert found["file written to row visible, median"].bound == "≤ 2 s"
    sections["latency"]["bare"] = [1.5]
    assert targets(sections)[-2].bound == "≤ 3 s"


def test_targets_without_results_are_not_measured() -> None:
    assert [(target.measured, target.reached) for target in targets({})] == [(ABSENT, None)] * 13
    assert "Not measured yet." in render({})


def test_target_is_reached_at_its_bound() -> None:
    assert Target.at_least("", 0.85, 0.85).reached
    assert not Target.at_least("", 0.85, 0.8499).reached
    assert Target.at_most("", 1.5, 1.5).reached
    assert not Target.at_most("", 1.5, 1.51).reached


def test_notebook_rate_with_one_run_is_not_extrapolated(sections: dict[str, Any]) -> None:
    del sections["featurize"]["competitors"]["notebook_400"]
    assert notebook_rate(sections["featurize"]) == 12


def test_report_contains_figures_and_skip_reasons(sections: dict[str, Any]) -> None:
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
    assert "| `--file-source binaryFile` | 180 s | 60.0% |" in text
    assert "1,000,000 rows: skipped, only 3 GiB of disk are free" in text
    assert "{" not in text
    assert "a processor, 2 cores, 8 GiB, an OS" in text


def test_table_rows_have_equal_cell_counts(sections: dict[str, Any]) -> None:
    lines = render(sections).splitlines()
    for above, line in pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") == line.count("|"), line


def test_extrapolation_to_ten_million_images(sections: dict[str, Any]) -> None:
    steps = {what: result for what, _, result in extrapolation.steps(sections)}
    assert steps == {
        "images/s per core": "75",
        "all images once": "0.6 hours",
        "size of the features table": "40 GB",
        "cost of each file in the prefix per micro-batch": "20.0 µs",
        "micro-batch of 100 images with all files in the prefix": "202 s",
        "cost of each row in a refit": "200 µs of one core",
        "refit of all rows": "33.2 s",
        "refit after 1 % new rows": "2.3 s",
    }


@pytest.mark.slow
def test_plots_are_png_files(sections: dict[str, Any], tmp_path: Path) -> None:
    from benchmarks.report.plots import draw

    for name in draw(sections["scaling"], tmp_path):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
