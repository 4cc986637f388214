"""Tests for `batch_pca.refits.drift`: drift as SciPy and plain NumPy measure_drift it on the rows themselves."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.linalg import subspace_angles

from batch_pca.pca.fit import FitOptions, Reduction, fit
from batch_pca.pca.moments import Moments
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.drift import Drift, DriftLimits, find_baseline, measure_drift
from batch_pca.refits.label_means import FILE, LabelSums
from streaming.errors import UsageError
from streaming.lake.layout import Lake
from support.feature_lakes import LABELS, Images, images

K = 3


def reduced(rows: Images, k: int = K) -> Reduction:
    return fit(Moments.of(rows.vectors, rows.vectors[:9].mean(axis=0)), FitOptions(k))


def means(rows: Images) -> LabelSums:
    sums = LabelSums()
    sums.add(pa.array(rows.labels), rows.vectors)
    return sums


def publish(folder: Path, rows: Images, k: int = K, **changes: object) -> RefitRow:
    """What a refit of these rows leaves of arrays."""
    reduction = reduced(rows, k)
    moment = datetime(2026, 3, 3, tzinfo=UTC)
    made = RefitRow(
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
    made.folder.write("components.npz", buffer.getvalue())
    made.folder.write("moments.npz", Moments.of(rows.vectors, rows.vectors[0]).to_bytes())
    made.folder.write(FILE, means(rows).to_bytes())
    return replace(made, **changes)  # type: ignore[arg-type]


BEFORE = images(300, seed=1)
MOVED = images(300, seed=2)
MOVED.vectors[:, 12:20] += 0.7
MOVED.vectors[np.array(MOVED.labels) == "Ananas", 20:40] *= 0.25


def deviations(one: np.ndarray, other: np.ndarray) -> float:
    std = BEFORE.vectors.astype(np.float64).std(axis=0, ddof=1)
    varied = BEFORE.vectors.min(axis=0) < BEFORE.vectors.max(axis=0)
    moved = (other.mean(axis=0, dtype=np.float64) - one.mean(axis=0, dtype=np.float64))[varied]
    return float(np.sqrt(np.mean((moved / std[varied]) ** 2)))


def drift(tmp_path: Path, k: int = K, k_before: int = K) -> Drift:
    found = measure_drift(
        publish(tmp_path, BEFORE, k_before), reduced(MOVED, k), means(MOVED).means()
    )
    assert found
    return found


def test_the_mean_of_all_and_of_each_label_has_moved_by_so_many_deviations(tmp_path: Path) -> None:
    found = drift(tmp_path)
    assert found.since == "before"
    assert found.shift == pytest.approx(deviations(BEFORE.vectors, MOVED.vectors), rel=1e-9)
    assert set(found.labels) == set(LABELS)
    for label, shift in found.labels.items():
        of = [rows.vectors[np.array(rows.labels) == label] for rows in (BEFORE, MOVED)]
        assert shift == pytest.approx(deviations(*of), rel=1e-9)
    assert list(found.labels.values()) == sorted(found.labels.values(), reverse=True)
    assert next(iter(found.labels)) == "Ananas"


def test_the_largest_angle_is_scipys_and_the_weighted_one_lies_below(tmp_path: Path) -> None:
    found = drift(tmp_path)
    one, other = reduced(BEFORE).components, reduced(MOVED).components
    angles = np.degrees(subspace_angles(one.T, other.T))
    assert found.largest_angle == pytest.approx(angles.max(), abs=1e-8)
    ratios = reduced(BEFORE).explained_variance_ratio[:K]
    outside = 1 - np.sum((one @ other.T) ** 2, axis=1)
    weighted = np.degrees(np.arcsin(np.sqrt(outside @ ratios / ratios.sum())))
    assert found.angle == pytest.approx(weighted, abs=1e-8)
    assert 0 < found.angle < found.largest_angle


def test_the_same_rows_have_not_moved(tmp_path: Path) -> None:
    found = measure_drift(publish(tmp_path, BEFORE), reduced(BEFORE), means(BEFORE).means())
    assert found
    assert max(found.angle, found.largest_angle, found.shift, *found.labels.values()) < 1e-5
    assert found.exceeded(DriftLimits()) == ""
    assert found.columns(DriftLimits())["drift_exceeded"] is None


@pytest.mark.parametrize(("k_before", "k"), [(5, 2), (2, 5)])
def test_other_numbers_of_components_are_no_drift(tmp_path: Path, k_before: int, k: int) -> None:
    before = publish(tmp_path, BEFORE, k_before)
    found = measure_drift(before, reduced(BEFORE, k), means(BEFORE).means())
    assert found
    assert max(found.angle, found.largest_angle) < 1e-5


def test_labels_that_one_of_both_lacks_have_no_shift(tmp_path: Path) -> None:
    now = means(MOVED).means()
    now["Fig"] = now.pop("Ananas")
    found = measure_drift(publish(tmp_path, BEFORE), reduced(MOVED), now)
    assert found
    assert set(found.labels) == set(LABELS) - {"Ananas"}


@pytest.mark.parametrize("name", ["components.npz", "moments.npz"])
def test_without_what_the_earlier_refit_left_there_is_no_drift(tmp_path: Path, name: str) -> None:
    before = publish(tmp_path, BEFORE)
    before.folder.write(name, b"gone")
    assert measure_drift(before, reduced(MOVED), {}) is None


def test_limits_that_were_passed_are_said() -> None:
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
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(UsageError, match="--max-drift shift="):
        DriftLimits(shift=limit)


def test_a_refit_is_compared_with_the_last_of_the_version_before_of_the_same_rows(
    tmp_path: Path,
) -> None:
    made = publish(tmp_path, BEFORE)
    later = timedelta(days=1)
    earlier = [
        made,
        replace(made, features_version=4, created_at=made.created_at + later),
        replace(made, features_version=4),
        replace(made, features_version=5),
        replace(made, features_version=4, model_id="other", created_at=made.created_at + 2 * later),
        replace(made, features_version=4, parameters='{"fit_on": "file:/x"}'),
    ]
    assert find_baseline(earlier, "made-up", None, 5) is earlier[1]
    assert find_baseline(earlier, "made-up", None, 4) is earlier[0]
    assert find_baseline(earlier, "made-up", "file:/x", 9) is earlier[5]
    assert find_baseline(earlier, "made-up", None, 2) is None
