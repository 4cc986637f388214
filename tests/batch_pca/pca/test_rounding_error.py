"""Tests for `batch_pca.pca.rounding_error`: statistics that rows were added to and subtracted from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from batch_pca.pca.moments import Moments
from batch_pca.pca.rounding_error import MAX_RELATIVE_ERROR, is_inaccurate

ROWS = np.clip(np.random.default_rng(1).normal(0.3, 1.5, (2000, 12)), 0, 6).astype(np.float32)
ROWS[:, 3], ROWS[:, 4] = 0.0, 0.1
SHIFT = ROWS[:256].mean(axis=0, dtype=np.float64)


def test_one_pass_is_accurate_with_constant_columns() -> None:
    assert not is_inaccurate(Moments.from_rows(ROWS, SHIFT))


def test_thousand_updates_are_accurate() -> None:
    moments = Moments.from_rows(ROWS, SHIFT)
    piece = ROWS[:50]
    for _ in range(1000):
        moments = moments + Moments.from_rows(piece, SHIFT) - Moments.from_rows(piece, SHIFT)
    assert not is_inaccurate(moments)
    exact = np.cov(ROWS.astype(np.float64).T).diagonal()
    np.testing.assert_allclose(moments.variance(), exact, rtol=MAX_RELATIVE_ERROR, atol=1e-20)


def test_column_is_inaccurate_above_the_bound() -> None:
    moments = Moments.from_rows(ROWS, SHIFT)
    squares = moments.variance() * (moments.count - 1)
    rounding = moments.rounding.copy()
    rounding[7] = 0.99 * MAX_RELATIVE_ERROR * squares[7]
    assert not is_inaccurate(replace(moments, rounding=rounding))
    rounding[7] = 1.01 * MAX_RELATIVE_ERROR * squares[7]
    assert is_inaccurate(replace(moments, rounding=rounding))


def test_column_that_became_constant_is_inaccurate() -> None:
    rows = ROWS.copy()
    rows[:3, 3] = (1.0, 2.5, 4.0)
    assert is_inaccurate(Moments.from_rows(rows, SHIFT) - Moments.from_rows(rows[:3], SHIFT))
