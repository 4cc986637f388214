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
    """What counts as drift.

    Parameters
    ----------
    angle : float
        Degrees by which the subspace may turn, each component weighted by what it explains.
    shift : float
        Standard deviations by which the mean may move.
    label : float
        The same for the mean of any label.

    Raises
    ------
    UsageError
        For a limit below 0 or none at all.

    Examples
    --------
    >>> import pomona
    >>> from batch_pca.refits.drift import DriftLimits
    >>> options = pomona.RefitOptions(drift=DriftLimits(angle=10))
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
        """What can be limited."""
        return [field.name for field in fields(cls)]


@dataclass(frozen=True)
class Drift:
    """What has moved since an earlier refit.

    Attributes
    ----------
    since : str
        Id of that refit: of the same model and rows to fit, on the latest version before.
    angle : float
        Degrees by which its subspace has turned, each component weighted by what it explained.
    largest_angle : float
        The largest of the principal angles, in degrees: the last of many components turn by chance.
    shift : float
        How far the mean has moved, in standard deviations of then: the root of the mean square over all columns that
        varied.
    labels : dict of str to float
        The same for each label that both have, the furthest first; in standard deviations of all rows.
    """

    since: str
    angle: float
    largest_angle: float
    shift: float
    labels: Mapping[str, float]

    def passed(self, limits: DriftLimits) -> str:
        """The limits that were passed, for people; empty where none was."""
        label, furthest = next(iter(self.labels.items()), ("", 0.0))
        found = []
        if self.angle > limits.angle:
            found.append(f"the subspace turned by {self.angle:.1f}° (limit {limits.angle:g}°)")
        if self.shift > limits.shift:
            found.append(f"the mean moved by {self.shift:.2f} deviations (limit {limits.shift:g})")
        if furthest > limits.label:
            found.append(f"label {label} by {furthest:.2f} deviations (limit {limits.label:g})")
        return "; ".join(found)

    def columns(self, limits: DriftLimits) -> dict[str, Any]:
        """As ``refits/`` keeps it."""
        return {
            "drift_from": self.since,
            "drift_angle": self.angle,
            "drift_largest_angle": self.largest_angle,
            "drift_shift": self.shift,
            "drift_labels": json.dumps(self.labels, ensure_ascii=False),
            "drift_passed": self.passed(limits) or None,
        }


def compared_with(
    earlier: list[RefitRow], model_id: str, fit_on: str | None, version: int
) -> RefitRow | None:
    """The refit that a new one is compared with: of an earlier version, so that a second look tells the same."""
    candidates = [
        made
        for made in earlier
        if (made.model_id, made.fit_on) == (model_id, fit_on) and made.features_version < version
    ]
    return max(candidates, key=lambda made: (made.features_version, made.created_at), default=None)


def measure(before: RefitRow, reduction: Reduction, labels: Mapping[str, Vector]) -> Drift | None:
    """Measure what has moved; None where somebody has removed or damaged what the earlier refit left.

    Parameters
    ----------
    before : RefitRow
    reduction : Reduction
        The new fit.
    labels : mapping of str to ndarray of shape (d,)
        Mean features of each label now.
    """
    try:
        old = read_fit(before.folder)
    except SnapshotError:
        return None
    # A look with fewer components has not turned what it leaves out.
    kept = min(len(old.components), reduction.k, before.components)
    then = old.components[:kept]
    variances = np.array(before.explained_variance_ratio[:kept])
    means = read_label_means(before.folder)
    varied = old.std > 0

    def moved(one: Vector, other: Vector) -> float:
        deviations = (other - one)[varied] / old.std[varied]
        return float(np.sqrt(np.mean(deviations**2)))

    shifts = {name: moved(means[name], now) for name, now in labels.items() if name in means}
    return Drift(
        since=before.refit_id,
        angle=weighted_angle(then, variances, reduction.components),
        largest_angle=float(principal_angles(then, reduction.components)[-1]),
        shift=moved(old.mean, reduction.mean),
        labels=dict(sorted(shifts.items(), key=lambda item: (-item[1], item[0]))),
    )
