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
from batch_pca.refits.drift import (
    Drift,
    DriftThresholds,
    apply_thresholds,
    check_baseline,
    correlation_angle,
    describe_drift,
    drift_of,
    exceeded_thresholds,
    find_baselines,
    find_named_baseline,
    measure_drift,
)
from batch_pca.refits.label_means import LABELS_FILE, LabelSums
from streaming.errors import SnapshotError, UsageError
from streaming.lake.layout import Lake
from support.lakes.feature_lakes import LABELS, Images, images

K = 3


def moments_of(rows: Images) -> Moments:
    return Moments.from_rows(rows.vectors, rows.vectors[:9].mean(axis=0))


def fit_rows(rows: Images, k: int = K) -> Reduction:
    return fit(moments_of(rows), FitOptions(k))


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
    row.folder.write(LABELS_FILE, label_sums(rows).to_bytes())
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


def measure(tmp_path: Path, before: Images = BEFORE, after: Images = MOVED, k: int = K) -> Drift:
    found = measure_drift(publish(tmp_path, before, k), moments_of(after), label_sums(after))
    assert found
    return found


def relabeled(rows: Images, names: dict[str, str]) -> Images:
    return replace(rows, labels=[names.get(label, label) for label in rows.labels])


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


def test_angle_matches_numpy_correlations(tmp_path: Path) -> None:
    pair = []
    for rows in (BEFORE, MOVED):
        with np.errstate(invalid="ignore"):  # constant columns
            pair.append(np.nan_to_num(np.corrcoef(rows.vectors.T.astype(np.float64))).ravel())
    cosine = pair[0] @ pair[1] / np.linalg.norm(pair[0]) / np.linalg.norm(pair[1])
    assert measure(tmp_path).angle == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-6)


def test_angle_equals_weighted_angles_between_all_components() -> None:
    """As documented: squared cosines of all pairs of components, weighted by both variances."""
    before, after = (fit_rows(rows, 60) for rows in (BEFORE, MOVED))
    values = [np.zeros(60), np.zeros(60)]
    for target, fitted in zip(values, (before, after), strict=True):
        target[:] = fitted.explained_variance[:60]
    squares = (before.components @ after.components.T) ** 2
    cosine = values[0] @ squares @ values[1] / np.linalg.norm(values[0]) / np.linalg.norm(values[1])
    angle = correlation_angle(moments_of(BEFORE).correlation(), moments_of(MOVED).correlation())
    assert angle == pytest.approx(np.degrees(np.arccos(cosine)), abs=0.05)


@pytest.mark.parametrize("k", [1, 2, 9, 40])
def test_drift_does_not_depend_on_number_of_components(tmp_path: Path, k: int) -> None:
    assert measure(tmp_path, k=k) == measure(tmp_path, k=K)


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 0.5, 30.0])
def test_small_angles_are_accurate(degrees: float) -> None:
    one, across = np.diag([1.0, 1.0, 0.0]), np.diag([1.0, -1.0, 0.0])
    angle = np.radians(degrees)
    rotated = np.cos(angle) * one + np.sin(angle) * across
    assert correlation_angle(one, 7 * rotated) == pytest.approx(degrees, rel=1e-6, abs=1e-12)


def test_same_rows_have_no_drift(tmp_path: Path) -> None:
    found = measure(tmp_path, BEFORE, BEFORE)
    assert max(found.angle, found.shift, *found.labels.values()) < 1e-5
    assert not found.exceeded(DriftThresholds())
    assert not found.new_labels | found.vanished_labels
    assert found.columns(DriftThresholds())["drift_exceeded"] is None


def test_new_and_vanished_labels_are_counted(tmp_path: Path) -> None:
    fig, ananas = LABELS[1], "Ananas"
    before = relabeled(BEFORE, {LABELS[0]: "Old", fig: "Older"})
    before.labels[:4] = ["Rare"] * 4
    after = relabeled(MOVED, {LABELS[0]: "New ✓", ananas: LABELS[2]})
    found = measure(tmp_path, before, after)
    counted = [
        dict(zip(*np.unique(rows.labels, return_counts=True), strict=True))
        for rows in (before, after)
    ]
    for labels, one, other in (
        (found.new_labels, counted[1], counted[0]),
        (found.vanished_labels, counted[0], counted[1]),
    ):
        assert labels == {label: n for label, n in one.items() if label not in other}
        assert list(labels.values()) == sorted(labels.values(), reverse=True)
    assert set(found.new_labels) == {"New ✓", fig}
    assert set(found.vanished_labels) == {"Old", "Older", "Rare", ananas}
    assert set(found.labels) == set(counted[0]) & set(counted[1])
    row = replace(publish(tmp_path, before), **found.columns(DriftThresholds()))
    assert drift_of(row) == found
    assert (row.new_labels, row.vanished_labels) == (found.new_labels, found.vanished_labels)
    text = describe_drift(row)
    assert f"new labels: {fig} (60 rows), New ✓ (60 rows), vanished labels: Ananas (60" in text


def test_labels_of_baseline_without_counts_are_not_compared(tmp_path: Path) -> None:
    before = publish(tmp_path, BEFORE)
    before.folder.write(LABELS_FILE, LabelSums(complete=False).to_bytes())
    found = measure_drift(before, moments_of(MOVED), label_sums(MOVED))
    assert found
    assert (found.labels, found.new_labels, found.vanished_labels) == ({}, {}, {})


def test_moments_of_baseline_without_variation_give_no_drift(tmp_path: Path) -> None:
    before = publish(tmp_path, BEFORE)
    constant = Moments.from_rows(BEFORE.vectors[[0, 0, 0]], BEFORE.vectors[0])
    before.folder.write("moments.npz", constant.to_bytes())
    assert measure_drift(before, moments_of(MOVED), label_sums(MOVED)) is None


def test_damaged_label_sums_of_baseline_give_no_shifts(tmp_path: Path) -> None:
    before = publish(tmp_path, BEFORE)
    narrow = LabelSums()
    narrow.add(pa.array(BEFORE.labels), BEFORE.vectors[:, :8])
    before.folder.write(LABELS_FILE, narrow.to_bytes())
    found = measure_drift(before, moments_of(MOVED), label_sums(MOVED))
    assert found
    assert (found.labels, found.new_labels) == ({}, {})


@pytest.mark.parametrize(
    "content",
    [
        b"damaged",
        replace(moments_of(BEFORE), total=np.full(64, np.nan)).to_bytes(),
        replace(moments_of(BEFORE), count=1).to_bytes(),
    ],
    ids=["text", "nan", "one row"],
)
def test_damaged_moments_of_baseline_give_no_drift(tmp_path: Path, content: bytes) -> None:
    before = publish(tmp_path, BEFORE)
    before.folder.write("moments.npz", content)
    assert measure_drift(before, moments_of(MOVED), LabelSums()) is None
    with pytest.raises(SnapshotError, match=r"--baseline before: moments.npz .* damaged"):
        check_baseline(before, "made-up")


def test_named_baseline_must_exist_and_have_the_same_model(tmp_path: Path) -> None:
    before = publish(tmp_path, BEFORE)
    assert find_named_baseline([before], "before") is before
    check_baseline(before, "made-up")
    with pytest.raises(UsageError, match="--baseline no: no such refit"):
        find_named_baseline([before], "no")
    with pytest.raises(UsageError, match="--baseline before: its model is made-up, not other"):
        check_baseline(before, "other")


def test_exceeded_thresholds_are_described(tmp_path: Path) -> None:
    found = Drift("before", 31.25, 0.75, {"Fig": 1.5, "Kiwi": 1.25, "Pear": 0.1})
    assert not found.exceeded(DriftThresholds(32, 0.8, 2))
    assert not found.exceeded(DriftThresholds(angle=31.25, shift=0.75, label=1.5))
    assert found.exceeded(DriftThresholds()) == {
        "angle": "correlation matrix rotated by 31.2° (threshold 15°)",
        "shift": "mean shifted by 0.75 standard deviations (threshold 0.5)",
        "label": "label Fig shifted by 1.50 standard deviations (and 1 more) (threshold 1)",
    }
    columns = found.columns(DriftThresholds())
    assert json.loads(columns["drift_labels"]) == found.labels
    assert columns["drift_exceeded"] == "; ".join(found.exceeded(DriftThresholds()).values())
    # Only the thresholds that were exceeded, with the thresholds of that call.
    row = publish(tmp_path, BEFORE, **columns)
    assert exceeded_thresholds(row) == {"angle", "shift", "label"}
    lenient = apply_thresholds(row, DriftThresholds(angle=40, shift=0.5, label=9))
    assert exceeded_thresholds(lenient) == {"shift"}
    assert lenient.drift_exceeded == "mean shifted by 0.75 standard deviations (threshold 0.5)"


def test_drift_of_earlier_format_is_described_and_not_compared(tmp_path: Path) -> None:
    old = publish(tmp_path, BEFORE, drift_from="x", drift_angle=70.0, drift_shift=0.5)
    assert (drift_of(old), exceeded_thresholds(old)) == (None, set())
    assert apply_thresholds(old, DriftThresholds(angle=1)) is old
    assert describe_drift(old).startswith(
        "since x: subspace rotated by 70.0°, mean shifted by 0.50"
    )


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_invalid_threshold_is_rejected(limit: float) -> None:
    with pytest.raises(UsageError, match="--max-drift shift="):
        DriftThresholds(shift=limit)


def test_baseline_is_previous_scheduled_refit_with_same_options(tmp_path: Path) -> None:
    row = publish(tmp_path, BEFORE, scheduled=True)
    day = timedelta(days=1)
    refits = [
        row,
        replace(row, features_version=4, created_at=row.created_at + day),
        replace(row, features_version=4),
        replace(row, features_version=5, scheduled=False),  # --as-of or --baseline
        replace(row, features_version=4, model_id="other", created_at=row.created_at + 2 * day),
        replace(row, features_version=4, parameters='{"fit_on": "file:/x"}'),
        replace(row, features_version=4, parameters=row.parameters.replace("3", "4")),
        replace(row, features_version=1, scheduled=None),  # of an earlier version of Pomona
    ]
    assert find_baselines(refits, "made-up", row.parameters, 6) == [
        refits[1],
        refits[2],
        refits[0],
        refits[7],
    ]
    assert find_baselines(refits, "made-up", row.parameters, 4) == [refits[0], refits[7]]
    assert find_baselines(refits, "made-up", '{"fit_on":"file:/x"}', 9) == [refits[5]]
    assert find_baselines(refits, "made-up", row.parameters, 1) == []
