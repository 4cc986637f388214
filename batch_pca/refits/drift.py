"""Measure how far the data moved since the previous refit.

Rounding errors of incremental statistics are a different subject: see `batch_pca.pca.rounding_error`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from batch_pca.pca.fit import Reduction
from batch_pca.pca.moments import Vector
from batch_pca.pca.subspace_angles import principal_angles, weighted_angle
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.label_means import read_label_means
from batch_pca.refits.load import read_fit
from streaming.errors import SnapshotError, UsageError


@dataclass(frozen=True)
class DriftLimits:
    """Thresholds above which a refit is reported as drifted.

    Parameters
    ----------
    angle : float
        Rotation of the subspace in degrees, each component weighted by its explained variance.
    shift : float
        Shift of the mean in standard deviations.
    label : float
        Shift of the mean of any label in standard deviations.

    Raises
    ------
    UsageError
        If a threshold is negative, infinite or NaN.

    Examples
    --------
    >>> import pomona
    >>> options = pomona.RefitOptions(drift=pomona.DriftLimits(angle=10))
    >>> options.drift
    DriftLimits(angle=10, shift=0.5, label=1.0)
    """

    angle: float = 15.0
    shift: float = 0.5
    label: float = 1.0

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            if not limit >= 0 or math.isinf(limit):
                raise UsageError(f"--max-drift {name}={limit}: give a number, 0 or more")

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the thresholds."""
        return [field.name for field in fields(cls)]


@dataclass(frozen=True)
class Drift:
    """Change of a fit relative to an earlier one, the baseline.

    Attributes
    ----------
    since : str
        Refit id of the baseline, see `find_baseline`.
    angle : float
        Rotation of the baseline's subspace in degrees, each component weighted by its explained variance.
    largest_angle : float
        Largest principal angle in degrees. With many components, the last ones rotate by chance.
    shift : float
        Shift of the mean in standard deviations of the baseline: root mean square over all columns that varied.
    labels : mapping of str to float
        Shift of the mean of each label present in both, in standard deviations of all rows, largest first.
    """

    since: str
    angle: float
    largest_angle: float
    shift: float
    labels: Mapping[str, float]

    def exceeded(self, limits: DriftLimits) -> str:
        """Return a description of the exceeded thresholds; empty if there are none."""
        label, label_shift = next(iter(self.labels.items()), ("", 0.0))
        found = []
        if self.angle > limits.angle:
            found.append(f"subspace rotated by {self.angle:.1f}° (limit {limits.angle:g}°)")
        if self.shift > limits.shift:
            found.append(
                f"mean shifted by {self.shift:.2f} standard deviations (limit {limits.shift:g})"
            )
        if label_shift > limits.label:
            found.append(
                f"label {label} shifted by {label_shift:.2f} standard deviations (limit {limits.label:g})"
            )
        return "; ".join(found)

    def columns(self, limits: DriftLimits) -> dict[str, Any]:
        """Return the values of the drift columns of ``refits/``."""
        return {
            "drift_from": self.since,
            "drift_angle": self.angle,
            "drift_largest_angle": self.largest_angle,
            "drift_shift": self.shift,
            "drift_labels": json.dumps(self.labels, ensure_ascii=False),
            "drift_exceeded": self.exceeded(limits) or None,
        }


def describe_drift(row: RefitRow) -> str:
    """Return a one-line description of the drift of a refit."""
    if row.drift_from is None:
        return "no earlier refit to compare with"
    text = (
        f"since {row.drift_from}: subspace rotated by {row.drift_angle:.1f}° "
        f"(largest principal angle {row.drift_largest_angle:.1f}°), "
        f"mean shifted by {row.drift_shift:.2f} standard deviations"
    )
    label, shift = next(iter(row.label_shifts.items()), ("", 0.0))
    return f"{text}, largest label shift {shift:.2f} ({label})" if label else text


def find_baseline(
    refits: list[RefitRow], model_id: str, fit_on: str | None, version: int
) -> RefitRow | None:
    """Find the refit that drift is measured against.

    It has the same model and `fit_on`, and the latest features version before `version`. Refits of `version` itself
    are ignored, so repeating a refit reports the same drift.
    """
    candidates = [
        row
        for row in refits
        if (row.model_id, row.fit_on) == (model_id, fit_on) and row.features_version < version
    ]
    return max(candidates, key=lambda row: (row.features_version, row.created_at), default=None)


def measure_drift(
    baseline: RefitRow, reduction: Reduction, labels: Mapping[str, Vector]
) -> Drift | None:
    """Compare a new fit with the baseline; return None if the files of the baseline are missing or damaged.

    Parameters
    ----------
    baseline : RefitRow
    reduction : Reduction
        The new fit.
    labels : mapping of str to ndarray of shape (d,)
        Current mean features of each label.
    """
    try:
        old = read_fit(baseline.folder)
    except SnapshotError:
        return None
    # Compare as many components as both have: a fit with fewer components is not a rotation.
    kept = min(len(old.components), reduction.k, baseline.components)
    old_components = old.components[:kept]
    variances = np.array(baseline.explained_variance_ratio[:kept])
    old_means = read_label_means(baseline.folder)
    varied = old.std > 0

    def shift(before: Vector, after: Vector) -> float:
        deviations = (after - before)[varied] / old.std[varied]
        return float(np.sqrt(np.mean(deviations**2)))

    shifts = {
        name: shift(old_means[name], mean) for name, mean in labels.items() if name in old_means
    }
    return Drift(
        since=baseline.refit_id,
        angle=weighted_angle(old_components, variances, reduction.components),
        largest_angle=float(principal_angles(old_components, reduction.components)[-1]),
        shift=shift(old.mean, reduction.mean),
        labels=dict(sorted(shifts.items(), key=lambda item: (-item[1], item[0]))),
    )
