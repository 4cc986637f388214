"""Tests for `batch_pca.refits.drift`, against SciPy and NumPy on the same rows."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_pca.pca.fit import FitOptions, Reduction, fit
from batch_pca.pca.moments import Moments
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.drift import Drift, DriftLimits, find_baseline, measure_drift
from batch_pca.refits.label_means import FILE, LabelSums
from streaming.errors import UsageError
from streaming.lake.layout import Lake
from support.feature_lakes import LABELS, Images, images

K = 3


def fit_rows(rows: Images, k: int = K) -> Reduction:
    return fit(Moments.from_rows(rows.vectors, rows.vectors[:9].mean(axis=0)), FitOptions(k))


def label_sums(rows: Images) -> LabelSums:
    sums = LabelSums()
    sums.add(pa.array(rows.labels), rows.vectors)
    return sums


def publish(folder: Path, rows: Images, k: int = K, **changes: object) -> RefitRow:
    """Write the arrays of a refit of these rows, and return its row."""
    reduction = fit_rows(rows, k)
    moment = datetime(2026, 3, 3, tzinfo=UTC)
    row = RefitRow(
        refit_id="before",
        lake=Lake(f"file:{folder}"),
        features_version=2,
        features_timestamp=moment,
        model_id="made-up",
        parameters='{"components": 3, "variance": null, "fit_on": null}',
        rows=len(rows.paths),
        rows_fitted=len(rows.paths),
        explained_variance_ratio=tuple(reduction.explained_variance_ratio[:k].tolist()),
        created_at=moment,
        pomona_version="0.1",
    )
    buffer = io.BytesIO()
    np.savez(buffer, components=reduction.components)
    row.folder.write("components.npz", buffer.getvalue())
    row.folder.write("moments.npz", Moments.from_rows(rows.vectors, rows.vectors[0]).to_bytes())
    row.folder.write(FILE, label_sums(rows).to_bytes())
    return replace(row, **changes)  # type: ignore[arg-type]


BEFORE = images(300, seed=1)
MOVED = images(300, seed=2)
MOVED.vectors[:, 12:20] += 0.7
MOVED.vectors[np.array(MOVED.labels) == "Ananas", 20:40] *= 0.25


def expected_shift(before: np.ndarray, after: np.ndarray) -> float:
    """Return the shift of the mean in standard deviations of all rows of BEFORE."""
    std = BEFORE.vectors.astype(np.float64).std(axis=0, ddof=1)
    varied = BEFORE.vectors.min(axis=0) < BEFORE.vectors.max(axis=0)
    shift = (after.mean(axis=0, dtype=np.float64) - before.mean(axis=0, dtype=np.float64))[varied]
    return float(np.sqrt(np.mean((shift / std[varied]) ** 2)))


def measure(tmp_path: Path, k: int = K, k_before: int = K) -> Drift:
    found = measure_drift(
        publish(tmp_path, BEFORE, k_before), fit_rows(MOVED, k), label_sums(MOVED).means()
    )
    assert found
    return found


def test_shift_of_mean_and_of_each_label_matches_numpy(tmp_path: Path) -> None:
    found = measure(tmp_path)
    assert found.since == "before"
    assert found.shift == pytest.approx(expected_shift(BEFORE.vectors, MOVED.vectors), rel=1e-9)
    assert set(found.labels) == set(LABELS)
    for label, shift in found.labels.items():
        pair = [rows.vectors[np.array(rows.labels) == label] for rows in (BEFORE, MOVED)]
        assert shift == pytest.approx(expected_shift(*pair), rel=1e-9)
    assert list(found.labels.values()) == sorted(found.labels.values(), reverse=True)
    assert next(iter(found.labels)) == "Ananas"


def test_largest_angle_matches_scipy_and_weighted_angle_is_smaller(tmp_path: Path) -> None:
    found = measure(tmp_path)
    before, after = fit_rows(BEFORE).components, fit_rows(MOVED).components
    from scipy.linalg import subspace_angles

    angles = np.degrees(subspace_angles(before.T, after.T))
    assert found.largest_angle == pytest.approx(angles.max(), abs=1e-8)
    ratios = fit_rows(BEFORE).explained_variance_ratio[:K]
    outside = 1 - np.sum((before @ after.T) ** 2, axis=1)
    weighted = np.degrees(np.arcsin(np.sqrt(outside @ ratios / ratios.sum())))
    assert found.angle == pytest.approx(weighted, abs=1e-8)
    assert 0 < found.angle < found.largest_angle


def test_same_rows_have_no_drift(tmp_path: Path) -> None:
    found = measure_drift(publish(tmp_path, BEFORE), fit_rows(BEFORE), label_sums(BEFORE).means())
    assert found
    assert max(found.angle, found.largest_angle, found.shift, *found.labels.values()) < 1e-5
    assert found.exceeded(DriftLimits()) == ""
    assert found.columns(DriftLimits())["drift_exceeded"] is None


@pytest.mark.parametrize(("k_before", "k"), [(5, 2), (2, 5)])
def test_different_number_of_components_is_no_drift(tmp_path: Path, k_before: int, k: int) -> None:
    before = publish(tmp_path, BEFORE, k_before)
    found = measure_drift(before, fit_rows(BEFORE, k), label_sums(BEFORE).means())
    assert found
    assert max(found.angle, found.largest_angle) < 1e-5


def test_labels_missing_on_one_side_have_no_shift(tmp_path: Path) -> None:
    current = label_sums(MOVED).means()
    current["Fig"] = current.pop("Ananas")
    found = measure_drift(publish(tmp_path, BEFORE), fit_rows(MOVED), current)
    assert found
    assert set(found.labels) == set(LABELS) - {"Ananas"}


@pytest.mark.parametrize("name", ["components.npz", "moments.npz"])
def test_damaged_files_of_baseline_give_no_drift(tmp_path: Path, name: str) -> None:
    before = publish(tmp_path, BEFORE)
    before.folder.write(name, b"damaged")
    assert measure_drift(before, fit_rows(MOVED), {}) is None


def test_exceeded_thresholds_are_described() -> None:
    found = Drift("before", 31.25, 80.0, 0.75, {"Fig": 1.5, "Kiwi": 0.1})
    assert found.exceeded(DriftLimits(32, 0.8, 2)) == ""
    assert found.exceeded(DriftLimits(angle=31.25, shift=0.75, label=1.5)) == ""
    assert found.exceeded(DriftLimits()) == (
        "subspace rotated by 31.2° (limit 15°); mean shifted by 0.75 standard deviations (limit 0.5); "
        "label Fig shifted by 1.50 standard deviations (limit 1)"
    )
    columns = found.columns(DriftLimits())
    assert json.loads(columns["drift_labels"]) == found.labels


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_invalid_threshold_is_rejected(limit: float) -> None:
    with pytest.raises(UsageError, match="--max-drift shift="):
        DriftLimits(shift=limit)


def test_baseline_is_latest_refit_of_previous_version_and_same_rows(
    tmp_path: Path,
) -> None:
    row = publish(tmp_path, BEFORE)
    day = timedelta(days=1)
    refits = [
        row,
        replace(row, features_version=4, created_at=row.created_at + day),
        replace(row, features_version=4),
        replace(row, features_version=5),
        replace(row, features_version=4, model_id="other", created_at=row.created_at + 2 * day),
        replace(row, features_version=4, parameters='{"fit_on": "file:/x"}'),
    ]
    assert find_baseline(refits, "made-up", None, 5) is refits[1]
    assert find_baseline(refits, "made-up", None, 4) is refits[0]
    assert find_baseline(refits, "made-up", "file:/x", 9) is refits[5]
    assert find_baseline(refits, "made-up", None, 2) is None
