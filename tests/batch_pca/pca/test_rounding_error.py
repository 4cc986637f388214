"""The bound on the rounding of sums that rows were added to and taken from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from batch_pca.pca.moments import Moments
from batch_pca.pca.rounding_error import BOUND, has_drifted

ROWS = np.clip(np.random.default_rng(1).normal(0.3, 1.5, (2000, 12)), 0, 6).astype(np.float32)
ROWS[:, 3], ROWS[:, 4] = 0.0, 0.1
SHIFT = ROWS[:256].mean(axis=0, dtype=np.float64)


def test_one_pass_has_not_drifted_whatever_columns_are_constant() -> None:
    assert not has_drifted(Moments.of(ROWS, SHIFT))


def test_a_thousand_rounds_do_not_reach_the_bound_and_err_less_than_it() -> None:
    moments = Moments.of(ROWS, SHIFT)
    piece = ROWS[:50]
    for _ in range(1000):
        moments = moments + Moments.of(piece, SHIFT) - Moments.of(piece, SHIFT)
    assert not has_drifted(moments)
    exact = np.cov(ROWS.astype(np.float64).T).diagonal()
    np.testing.assert_allclose(moments.variance(), exact, rtol=BOUND, atol=1e-20)


def test_a_column_whose_rounding_passes_the_bound_has_drifted() -> None:
    moments = Moments.of(ROWS, SHIFT)
    squares = moments.variance() * (moments.count - 1)
    worn = moments.rounding.copy()
    worn[7] = 0.99 * BOUND * squares[7]
    assert not has_drifted(replace(moments, rounding=worn))
    worn[7] = 1.01 * BOUND * squares[7]
    assert has_drifted(replace(moments, rounding=worn))


def test_a_column_that_only_removed_rows_varied_in_has_drifted() -> None:
    rows = ROWS.copy()
    rows[:3, 3] = (1.0, 2.5, 4.0)
    assert has_drifted(Moments.of(rows, SHIFT) - Moments.of(rows[:3], SHIFT))
