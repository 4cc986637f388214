"""Measure how far the data moved since the previous refit.

Rounding errors of incremental statistics are a different subject: see `batch_pca.pca.rounding_error`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from batch_pca.pca.moments import Matrix, Moments, Vector
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.folder import read_moments
from batch_pca.refits.label_means import LabelSums, read_label_sums
from streaming.arguments import check_fields
from streaming.counts import format_count
from streaming.errors import SnapshotError, UsageError
from streaming.storage.documents import Optional

# Number of labels that a line of text names.
_MAX_NAMED = 5


@dataclass(frozen=True)
class DriftThresholds:
    """Thresholds above which a refit is reported as drifted.

    Parameters
    ----------
    angle : float
        Angle between the correlation matrices in degrees.
    shift : float
        Shift of the mean in standard deviations.
    label : float
        Shift of the mean of any label in standard deviations.

    Raises
    ------
    UsageError
        If a threshold is not a number, negative, infinite or NaN.

    Examples
    --------
    >>> import pomona
    >>> options = pomona.RefitOptions(drift=pomona.DriftThresholds(angle=10))
    >>> options.drift
    DriftThresholds(angle=10, shift=0.5, label=1.0)
    """

    angle: float = 15.0
    shift: float = 0.5
    label: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        for name, threshold in asdict(self).items():
            if not threshold >= 0 or math.isinf(threshold):
                raise UsageError(f"--max-drift {name}={threshold}: give a number, 0 or more")

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the thresholds."""
        return [field.name for field in fields(cls)]


@dataclass(frozen=True)
class Drift:
    """Change of the rows of a refit relative to an earlier one, the baseline.

    No measure depends on the number of components.

    Attributes
    ----------
    since : str
        Refit id of the baseline, see `find_baselines`.
    angle : float
        Angle between the correlation matrices in degrees, see `correlation_angle`.
    shift : float
        Shift of the mean in standard deviations of the baseline: root mean square over all columns that varied.
    labels : mapping of str to float
        Shift of the mean of each label present in both, in standard deviations of all rows, largest first.
    new_labels, vanished_labels : mapping of str to int
        Labels that only this refit, or only the baseline, has, with their numbers of rows, most rows first.
    """

    since: str
    angle: float
    shift: float
    labels: Mapping[str, float]
    new_labels: Mapping[str, int] = field(default_factory=dict)
    vanished_labels: Mapping[str, int] = field(default_factory=dict)

    def exceeded(self, thresholds: DriftThresholds) -> dict[str, str]:
        """Return a description of each exceeded threshold, by the name of the threshold; empty if there are none."""
        found = {}
        if self.angle > thresholds.angle:
            found["angle"] = (
                f"correlation matrix rotated by {self.angle:.1f}° (threshold {thresholds.angle:g}°)"
            )
        if self.shift > thresholds.shift:
            found["shift"] = (
                f"mean shifted by {self.shift:.2f} standard deviations (threshold {thresholds.shift:g})"
            )
        above = [item for item in self.labels.items() if item[1] > thresholds.label]
        if above:
            (label, largest), *others = above
            more = f" (and {len(others):,} more)" if others else ""
            found["label"] = (
                f"label {label} shifted by {largest:.2f} standard deviations{more} "
                f"(threshold {thresholds.label:g})"
            )
        return found

    def columns(self, thresholds: DriftThresholds) -> dict[str, Any]:
        """Return the values of the drift columns of ``refits/``."""
        return {
            "drift_from": self.since,
            "drift_angle": self.angle,
            "drift_shift": self.shift,
            "drift_labels": _to_json(self.labels),
            "drift_new_labels": _to_json(self.new_labels),
            "drift_vanished_labels": _to_json(self.vanished_labels),
            "drift_limits": _to_json(asdict(thresholds)),
            "drift_exceeded": "; ".join(self.exceeded(thresholds).values()) or None,
        }


def _to_json(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), ensure_ascii=False, allow_nan=False)


def drift_of(row: RefitRow) -> Drift | None:
    """Return the drift that a row of ``refits/`` records.

    None without a baseline, and for refits of earlier versions of Pomona: their angle is another measure.
    """
    if row.drift_from is None or row.drift_limits is None:
        return None
    return Drift(
        row.drift_from,
        row.drift_angle or 0.0,
        row.drift_shift or 0.0,
        row.label_shifts,
        row.new_labels,
        row.vanished_labels,
    )


def exceeded_thresholds(row: RefitRow) -> set[str]:
    """Return the names of the thresholds that a refit exceeded."""
    found = drift_of(row)
    if found is None or row.drift_limits is None:
        return set()
    return set(found.exceeded(DriftThresholds(**_thresholds(row))))


def _thresholds(row: RefitRow) -> dict[str, Any]:
    names = [known.name for known in fields(DriftThresholds)]
    found = row.parse("drift_limits", {name: Optional(float) for name in names})
    return {name: found[name] for name in names if name in found}


def apply_thresholds(row: RefitRow, thresholds: DriftThresholds) -> RefitRow:
    """Return the row of an earlier refit with the thresholds of this call."""
    found = drift_of(row)
    return replace(row, **found.columns(thresholds)) if found else row


def describe_drift(row: RefitRow) -> str:
    """Return a one-line description of the drift of a refit."""
    if row.drift_from is None:
        return "no earlier refit to compare with"
    # Up to format 4, the angle was that of the subspaces.
    matrix = "correlation matrix" if row.drift_limits else "subspace"
    parts = [
        f"{matrix} rotated by {row.drift_angle:.1f}°",
        f"mean shifted by {row.drift_shift:.2f} standard deviations",
    ]
    label, shift = next(iter(row.label_shifts.items()), ("", 0.0))
    if label:
        parts.append(f"largest label shift {shift:.2f} ({label})")
    for kind, counts in (("new", row.new_labels), ("vanished", row.vanished_labels)):
        if counts:
            parts.append(f"{kind} labels: {_name_labels(counts)}")
    return f"since {row.drift_from}: {', '.join(parts)}"


def _name_labels(counts: Mapping[str, int]) -> str:
    named = [
        f"{label} ({format_count(count, 'row')})"
        for label, count in list(counts.items())[:_MAX_NAMED]
    ]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")


def find_baselines(
    refits: Iterable[RefitRow], model_id: str, parameters: str, version: int
) -> list[RefitRow]:
    """Find the refits that drift can be measured against, best first.

    They are the scheduled refits with the same model and parameters, latest features version before `version` first.
    A refit with ``--as-of`` or ``--baseline`` is not scheduled. Refits of `version` itself are ignored, so repeating
    a refit reports the same drift.
    """
    wanted = json.loads(parameters)
    candidates = [
        row
        for row in refits
        if row.model_id == model_id
        and row.parse("parameters") == wanted
        and row.scheduled is not False
        and row.features_version < version
    ]
    return sorted(candidates, key=lambda row: (row.features_version, row.created_at), reverse=True)


def find_named_baseline(refits: Iterable[RefitRow], refit_id: str) -> RefitRow:
    """Return the refit with an id; UsageError if there is none."""
    for row in refits:
        if row.refit_id == refit_id:
            return row
    raise UsageError(
        f"--baseline {refit_id}: no such refit; `pomona history` lists the refits of a lake"
    )


def check_baseline(baseline: RefitRow, model_id: str) -> None:
    """Check a baseline that the user named, before anything is written.

    Raises
    ------
    UsageError
        If its model is not that of the rows to fit.
    SnapshotError
        If its files are missing or damaged.
    """
    if baseline.model_id != model_id:
        raise UsageError(
            f"--baseline {baseline.refit_id}: its model is {baseline.model_id}, not {model_id}: "
            "name a refit of the same model"
        )
    if read_moments(baseline.folder) is None:
        raise SnapshotError(
            f"--baseline {baseline.refit_id}: moments.npz in its folder is missing or damaged: name another refit"
        )


def measure_drift(baseline: RefitRow, moments: Moments, sums: LabelSums) -> Drift | None:
    """Compare a new refit with the baseline; return None if the files of the baseline are missing or damaged.

    Parameters
    ----------
    baseline : RefitRow
    moments : Moments
        Statistics of the rows fitted now.
    sums : LabelSums
        Current sums of each label.
    """
    old = read_moments(baseline.folder)
    if old is None or old.shift.shape != moments.shift.shape:
        return None
    std = np.sqrt(old.variance())
    varied = ~old.constant()
    if not varied.any():  # such rows cannot have been fitted
        return None

    def shift(before: Vector, after: Vector) -> float:
        deviations = (after - before)[varied] / std[varied]
        return float(np.sqrt(np.mean(deviations**2)))

    old_sums = read_label_sums(baseline.folder, moments.shift.size)
    old_means = old_sums.means() if old_sums else {}
    shifts = {
        name: shift(old_means[name], mean)
        for name, mean in sums.means().items()
        if name in old_means
    }
    return Drift(
        since=baseline.refit_id,
        angle=correlation_angle(old.correlation(), moments.correlation()),
        shift=shift(old.mean(), moments.mean()),
        labels=dict(sorted(shifts.items(), key=lambda item: (-item[1], item[0]))),
        new_labels=_labels_only_in(sums.counts, old_sums.counts) if old_sums else {},
        vanished_labels=_labels_only_in(old_sums.counts, sums.counts) if old_sums else {},
    )


def _labels_only_in(one: Counter[str], other: Counter[str]) -> dict[str, int]:
    only = [(label, count) for label, count in one.items() if label not in other]
    return dict(sorted(only, key=lambda item: (-item[1], item[0])))


def correlation_angle(one: Matrix, other: Matrix) -> float:
    """Compute the angle between two correlation matrices, as vectors of their entries.

    Its cosine is ``trace(one @ other) / (norm(one) * norm(other))`` with the Frobenius norm. In terms of all principal
    components, it is the sum of their squared cosines, each weighted by both explained variances: components that
    explain little have little weight, and equal variances, whose components are arbitrary, need no special case. One
    minus the cosine is known as correlation matrix distance (Herdin et al., 2005).

    Parameters
    ----------
    one, other : ndarray of shape (d, d)

    Returns
    -------
    float
        Degrees from 0 (equal up to a factor) to 90.
    """
    one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    # Accurate for small angles, unlike the arc cosine.
    half = np.arctan2(np.linalg.norm(one - other), np.linalg.norm(one + other))
    return float(np.degrees(2 * half))
