"""Tests for drift of real refits: in ``refits/``, in the output, in the report, and as exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.vectors import write_vectors
from support.lakes.feature_lakes import Images, commit, images, new_lake, refit_rows
from support.processes.cli import Command

pytestmark = pytest.mark.spark


def relabel(rows: Images, one: str, other: str) -> Images:
    """Replace a label."""
    return Images(
        rows.paths, [other if label == one else label for label in rows.labels], rows.vectors
    )


def shifted(rows: Images) -> Images:
    """Shift the features of one label."""
    vectors = rows.vectors.copy()
    vectors[np.array(rows.labels) == "Ananas", 12:40] += 3
    return Images(rows.paths, rows.labels, vectors)


def expected_shift(before: list[Images], after: list[Images], label: str) -> float:
    """Return the shift of a label's mean in standard deviations of all earlier rows."""
    chosen = [
        np.concatenate([r.vectors[np.array(r.labels) == label] for r in rows]).astype(np.float64)
        for rows in (before, after)
    ]
    std = np.concatenate([r.vectors for r in before]).astype(np.float64).std(axis=0, ddof=1)
    varied = std > 1e-12
    shift = (chosen[1].mean(axis=0) - chosen[0].mean(axis=0))[varied] / std[varied]
    return float(np.sqrt(np.mean(shift**2)))


@pytest.mark.long
def test_drift_is_stored_reported_and_fails_on_request(
    spark: Any, tmp_path: Path, pomona: Command
) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    first, second, third = images(100, seed=1), images(20, seed=2), shifted(images(100, seed=3))
    arguments = ("refit", tmp_path / "lake", "--components", 3, "--fail-on-drift")
    commit(spark, lake, first)
    no_baseline = pomona(*arguments, "--json")
    assert (no_baseline.status, no_baseline.json["drift"]) == (0, None)
    commit(spark, lake, second)  # rows of the same distribution
    stable = pomona(*arguments, "--json")
    assert stable.status == 0, stable.err
    assert stable.json["drift"]["since"] == no_baseline.json["refit_id"]
    assert stable.json["drift"]["exceeded"] is None
    commit(spark, lake, third)
    drifted = pomona(*arguments)
    assert drifted.status == 3
    expected = expected_shift([first, second], [first, second, third], "Ananas")
    exceeded = f"label Ananas shifted by {expected:.2f} standard deviations (threshold 1)"
    assert exceeded in drifted.err
    assert "drift threshold exceeded: " in drifted.out
    assert exceeded in drifted.out
    again = pomona(*arguments)
    assert (again.status, "no changes since" in again.out) == (3, True)

    row = max(refit_rows(lake).values(), key=lambda row: row["created_at"])
    assert row["features_version"] == 4
    assert row["drift_from"] == stable.json["refit_id"]
    labels = json.loads(row["drift_labels"])
    for label, shift in labels.items():
        assert shift == pytest.approx(
            expected_shift([first, second], [first, second, third], label), rel=1e-6
        )
    assert next(iter(labels)) == "Ananas"
    assert exceeded in row["drift_exceeded"]
    assert 0 < row["drift_angle"] <= 90
    page = Path(lake.reduced.removeprefix("file:"), row["refit_id"], "report.html").read_text()
    assert f"mean shifted by {row['drift_shift']:.2f} standard deviations" in page

    # Unchanged rows are compared with the thresholds of this call.
    lenient = pomona(*arguments, "--max-drift", "label=99", "--max-drift", "angle=90", "--json")
    assert (lenient.status, lenient.json["is_new"], lenient.json["drift"]["exceeded"]) == (
        0,
        False,
        None,
    )

    lenient = pomona(
        *arguments,
        "--full",
        "--max-drift",
        "label=99",
        "--max-drift",
        "angle=90",
        "--max-drift",
        "shift=9",
        "--json",
    )
    assert lenient.status == 0
    drift = lenient.json["drift"]
    assert (drift["since"], drift["exceeded"]) == (stable.json["refit_id"], None)
    assert drift["angle"] == pytest.approx(row["drift_angle"], abs=1e-6)


@pytest.mark.long
def test_baseline_is_previous_scheduled_refit_or_the_named_one(
    spark: Any, tmp_path: Path, pomona: Command
) -> None:
    lake = new_lake(spark, tmp_path / "lake")

    def run(*options: object) -> dict[str, Any]:
        result = pomona("refit", tmp_path / "lake", "--components", 3, *options, "--json")
        assert result.status == 0, result.err
        return dict(result.json)

    commit(spark, lake, images(50, seed=1))
    first = run()
    commit(spark, lake, relabel(images(25, seed=2), "Ananas", "Pear"))
    with_as_of = run("--as-of", "latest")
    other_options = run("--components", 4)
    second = run()
    assert second["is_new"]  # not replaced by the refit with --as-of
    assert run("--as-of", "latest")["refit_id"] == second["refit_id"]
    commit(spark, lake, images(25, seed=3))
    third = run()
    named = run("--baseline", with_as_of["refit_id"])
    assert run("--baseline", with_as_of["refit_id"])["refit_id"] == named["refit_id"]
    assert run()["refit_id"] == third["refit_id"]
    since = [refit["drift"] and refit["drift"]["since"] for refit in (first, second, third, named)]
    assert since == [None, first["refit_id"], second["refit_id"], with_as_of["refit_id"]]
    assert with_as_of["drift"]["since"] == first["refit_id"]
    assert other_options["drift"] is None
    assert second["drift"]["new_labels"] == {"Pear": 5}
    assert third["drift"]["new_labels"] == third["drift"]["vanished_labels"] == {}
    # The same rows and the same baseline: the number of components changes nothing.
    wide = run("--components", 9, "--baseline", second["refit_id"])
    for measure in ("angle", "shift", "labels"):
        assert wide["drift"][measure] == pytest.approx(third["drift"][measure], rel=1e-9)
    missing = pomona("refit", tmp_path / "lake", "--baseline", "20260101T000000Z-v1-abcd")
    assert (missing.status, "no such refit" in missing.error_line) == (2, True)
    assert third["refit_id"] in refit_rows(lake)


def test_baseline_that_is_removed_during_the_refit_is_an_error(
    spark: Any, tmp_path: Path, pomona: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    commit(spark, lake, images(40, seed=1))
    first = refit(lake.root, RefitOptions(FitOptions(components=2))).row
    commit(spark, lake, images(10, seed=2))

    def write(*arguments: Any) -> Any:
        (tmp_path / "lake" / "reduced" / first.refit_id / "moments.npz").unlink()
        return write_vectors(*arguments)

    monkeypatch.setattr(sys.modules["batch_pca.refit"], "write_vectors", write)
    arguments = ("--components", 2, "--baseline", first.refit_id, "--fail-on-drift")
    done = pomona("refit", lake.root, *arguments)
    assert done.status == 1
    assert f"--baseline {first.refit_id}: moments.npz in its folder is missing" in done.error_line
    assert set(refit_rows(lake)) == {first.refit_id}
