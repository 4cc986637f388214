"""Drift, watched by real refits: measured, kept in ``refits/``, said, and a failure where that is asked for."""

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


def moved(rows: Images) -> Images:
    vectors = rows.vectors.copy()
    vectors[np.array(rows.labels) == "Ananas", 12:40] += 3
    return Images(rows.paths, rows.labels, vectors)


def deviations(before: list[Images], after: list[Images], label: str) -> float:
    """How far a label's mean has moved, in standard deviations of all rows before."""
    chosen = [
        np.concatenate([r.vectors[np.array(r.labels) == label] for r in rows]).astype(np.float64)
        for rows in (before, after)
    ]
    std = np.concatenate([r.vectors for r in before]).astype(np.float64).std(axis=0, ddof=1)
    varied = std > 1e-12
    shift = (chosen[1].mean(axis=0) - chosen[0].mean(axis=0))[varied] / std[varied]
    return float(np.sqrt(np.mean(shift**2)))


def test_data_that_move_are_told_kept_and_a_failure_where_that_is_asked_for(
    spark: Any, tmp_path: Path, pomona: Command
) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    first, second, third = images(100, seed=1), images(20, seed=2), moved(images(100, seed=3))
    words = ("refit", tmp_path / "lake", "--components", 3, "--fail-on-drift")
    commit(spark, lake, first)
    alone = pomona(*words, "--json")
    assert (alone.status, alone.json["drift"]) == (0, None)
    commit(spark, lake, second)  # more of the same
    calm = pomona(*words, "--json")
    assert calm.status == 0, calm.err
    assert calm.json["drift"]["since"] == alone.json["refit_id"]
    assert calm.json["drift"]["exceeded"] is None
    commit(spark, lake, third)
    drifted = pomona(*words)
    assert drifted.status == 3
    expected = deviations([first, second], [first, second, third], "Ananas")
    passed = f"label Ananas shifted by {expected:.2f} standard deviations (limit 1)"
    assert passed in drifted.err
    assert "drift threshold exceeded: " in drifted.out
    assert passed in drifted.out
    again = pomona(*words)
    assert (again.status, "no changes since" in again.out) == (3, True)

    row = max(refit_rows(lake).values(), key=lambda row: row["created_at"])
    assert row["features_version"] == 4
    assert row["drift_from"] == calm.json["refit_id"]
    labels = json.loads(row["drift_labels"])
    for label, shift in labels.items():
        assert shift == pytest.approx(
            deviations([first, second], [first, second, third], label), rel=1e-6
        )
    assert next(iter(labels)) == "Ananas"
    assert passed in row["drift_exceeded"]
    assert 0 < row["drift_angle"] <= row["drift_largest_angle"] <= 90
    page = Path(lake.reduced.removeprefix("file:"), row["refit_id"], "report.html").read_text()
    assert f"mean shifted by {row['drift_shift']:.2f} standard deviations" in page

    lenient = pomona(
        *words,
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
    told = lenient.json["drift"]
    assert (told["since"], told["exceeded"]) == (calm.json["refit_id"], None)
    assert told["angle"] == pytest.approx(row["drift_angle"], abs=1e-6)


def test_the_means_of_labels_are_those_of_all_rows_whoever_reads_them(
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
