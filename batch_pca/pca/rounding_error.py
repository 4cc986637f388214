"""Bound the rounding error of statistics that were updated incrementally many times."""

from __future__ import annotations

import numpy as np

from batch_pca.pca.moments import Moments

#: Rounding may have left this share of a column's sum of squares, at most: a tenth of the 1e-8 that a refit promises.
#: One pass over 100,000 rows is bounded by 1e-13; what was measured is a hundred times less than the bound.
BOUND = 1e-9
_EPSILON = float(np.finfo(np.float64).eps)


def has_drifted(moments: Moments) -> bool:
    """Whether sums of 2 rows or more can no longer be told from their own rounding, or from a constant's.

    A column that varies has drifted where `Moments.rounding` passes `BOUND` times its sum of squared deviations.
    One that has become constant because rows were taken away leaves the same trace as one that still varies a
    little, and is told apart only by reading all rows: it has drifted too. A column that always was constant, so
    that nothing ever was summed but rounding, has not: scikit-learn's bound for constants covers it.
    """
    squares = moments.variance() * (moments.count - 1)
    constant = moments.count * (moments.count * moments.mean() * _EPSILON) ** 2
    return bool((moments.rounding > np.maximum(BOUND * squares, constant)).any())
