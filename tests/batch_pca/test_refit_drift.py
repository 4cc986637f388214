"""Tests for drift of real refits: in ``refits/``, in the output, in the report, and as exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.label_means import read_label_means
from streaming.lake.layout import Lake
from support.cli import Command
from support.feature_lakes import Images, commit, images, new_lake, refit_rows

pytestmark = pytest.mark.spark


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
    exceeded = f"label Ananas shifted by {expected:.2f} standard deviations (limit 1)"
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
    assert 0 < row["drift_angle"] <= row["drift_largest_angle"] <= 90
    page = Path(lake.reduced.removeprefix("file:"), row["refit_id"], "report.html").read_text()
    assert f"mean shifted by {row['drift_shift']:.2f} standard deviations" in page

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


def test_label_means_match_numpy_with_and_without_spark_reader(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake: Lake = new_lake(spark, tmp_path / "lake")
    rows = images(70, seed=4)
    commit(spark, lake, rows)
    options = RefitOptions(FitOptions(components=2), full=True)
    found = [read_label_means(refit(lake.root, options).folder)]
    monkeypatch.setattr(
        "batch_pca.features.snapshot.plan_parts", lambda *_: None
    )  # as with deletion vectors
    found.append(read_label_means(refit(lake.root, options).folder))
    labels = np.array(rows.labels)
    for means in found:
        assert set(means) == set(rows.labels)
        for label, mean in means.items():
            expected = rows.vectors[labels == label].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(mean, expected, rtol=1e-12)
