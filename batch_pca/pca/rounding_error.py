"""Bound the rounding error of statistics that were updated incrementally many times."""

from __future__ import annotations

import numpy as np

from batch_pca.pca.moments import Moments

#: Maximum rounding error relative to a column's sum of squares: a tenth of the documented accuracy of a refit, 1e-8.
#: One pass over 100,000 rows is bounded by 1e-13, and the measured error is a hundred times smaller than the bound.
MAX_RELATIVE_ERROR = 1e-9
_EPSILON = float(np.finfo(np.float64).eps)


def is_inaccurate(moments: Moments) -> bool:
    """Return whether the rounding error of statistics of 2 or more rows is too large.

    A column that varies is inaccurate if `Moments.rounding` exceeds `MAX_RELATIVE_ERROR` times its sum of squared
    deviations. A column that became constant because rows were subtracted is inaccurate, too: only reading all rows
    distinguishes it from a column that still varies slightly. A column that always was constant is accurate:
    scikit-learn's bound for constant columns covers its rounding error.
    """
    squares = moments.variance() * (moments.count - 1)
    constant = moments.count * (moments.count * moments.mean() * _EPSILON) ** 2
    return bool((moments.rounding > np.maximum(MAX_RELATIVE_ERROR * squares, constant)).any())
