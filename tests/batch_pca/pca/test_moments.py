"""Tests for `batch_pca.pca.moments`, against NumPy's two-pass statistics of the same rows."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from batch_pca.pca.moments import BLOCK_ROWS, Moments, MomentsBuilder
from streaming.errors import SnapshotError

Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """3,000 rows of 12 features like the output of ReLU6: many zeros, all between 0 and 6."""
    draws = np.random.default_rng(1).normal(0.3, 1.5, (3000, 12))
    return np.clip(draws, 0, 6).astype(np.float32)


def assert_statistics_match(moments: Moments, rows: NDArray[np.floating], tolerance: float) -> None:
    exact = rows.astype(np.float64)
    assert moments.count == len(exact)
    np.testing.assert_allclose(moments.mean(), exact.mean(axis=0), rtol=tolerance)
    expected = np.cov(exact, rowvar=False)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(moments.covariance(), expected, rtol=0, atol=tolerance * largest)
    np.testing.assert_allclose(moments.variance(), expected.diagonal(), rtol=tolerance)


def test_statistics_match_numpy_with_divisor_n_minus_1(rows: Rows) -> None:
    assert_statistics_match(Moments.from_rows(rows, rows[:50].mean(axis=0)), rows, 1e-12)


def test_float32_rows_are_summed_in_float64(rows: Rows) -> None:
    shift = np.zeros(12)
    wide = Moments.from_rows(rows.astype(np.float64), shift)
    np.testing.assert_array_equal(Moments.from_rows(rows, shift).cross, wide.cross)


@pytest.mark.parametrize("size", [0, 1, BLOCK_ROWS, BLOCK_ROWS + 1])
def test_block_boundary_loses_no_row(rows: Rows, size: int) -> None:
    moments = Moments.from_rows(rows[:size], np.full(12, 0.5))
    assert moments.count == size
    np.testing.assert_allclose(moments.total, (rows[:size].astype(float) - 0.5).sum(axis=0))


def test_merged_parts_equal_the_whole_in_any_order(rows: Rows) -> None:
    random = np.random.default_rng(2)
    shift = rows[:20].mean(axis=0)
    for parts in (2, 3, 17):
        cuts = np.sort(random.integers(0, len(rows), parts - 1))
        pieces = [Moments.from_rows(piece, shift) for piece in np.split(rows, cuts)]
        merged = Moments.zero(shift)
        for index in random.permutation(parts):
            merged = pieces[index] + merged
        assert_statistics_match(merged, rows, 1e-10)


def test_subtraction_leaves_statistics_of_remaining_rows(rows: Rows) -> None:
    shift = rows.mean(axis=0)
    rest = Moments.from_rows(rows, shift) - Moments.from_rows(rows[700:900], shift)
    assert_statistics_match(rest, np.delete(rows, slice(700, 900), axis=0), 1e-10)


def test_subtraction_of_all_rows_leaves_exact_zeros(rows: Rows) -> None:
    shift = rows[0]
    parts = Moments.from_rows(rows[:999], shift) + Moments.from_rows(rows[999:], shift)
    nothing = parts - Moments.from_rows(rows, shift)
    assert nothing.count == 0
    assert not nothing.cross.any()
    assert not nothing.total.any()


def test_shift_far_from_mean_is_accurate(rows: Rows) -> None:
    assert_statistics_match(Moments.from_rows(rows, np.full(12, 1000.0)), rows, 1e-7)


def test_large_mean_with_small_spread_is_accurate(rows: Rows) -> None:
    distant = rows.astype(np.float64) * 1e-3 + 1e8
    moments = Moments.from_rows(distant, distant[:10].mean(axis=0))
    near = distant - 1e8  # exact, unlike the covariance of `distant` by NumPy
    np.testing.assert_allclose(moments.covariance(), np.cov(near, rowvar=False), atol=1e-16)
    assert not moments.constant().any()


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0, 250.0])
def test_constant_column_is_detected_with_any_shift(rows: Rows, shift: float) -> None:
    rows = rows.copy()
    rows[:, 3] = 0.1
    rows[:, 4] = 5.7
    constant = Moments.from_rows(rows, np.full(12, shift)).constant()
    assert np.flatnonzero(constant).tolist() == [3, 4]


def test_column_is_constant_after_subtracting_rows_that_varied(rows: Rows) -> None:
    rows = rows.copy()
    rows[:, 5] = 0.0
    rows[:10, 5] = np.linspace(3, 6, 10)
    whole = Moments.from_rows(rows, shift := np.full(12, 0.01))
    assert not whole.constant().any()
    rest = whole - Moments.from_rows(rows[:4], shift) - Moments.from_rows(rows[4:10], shift)
    assert np.flatnonzero(rest.constant()).tolist() == [5]
    assert np.flatnonzero(Moments.from_bytes(rest.to_bytes()).constant()).tolist() == [5]


def test_one_different_row_in_a_million_is_not_constant() -> None:
    builder = MomentsBuilder(np.zeros(2))
    block = np.zeros((50_000, 2), np.float32)
    for _ in range(20):
        builder.add(block)
    builder.add(np.array([[0.01, 0.0]], np.float32))
    assert builder.build().constant().tolist() == [False, True]


def test_builder_equals_one_sum_and_its_result_does_not_change(rows: Rows) -> None:
    builder = MomentsBuilder(rows[0])
    builder.add(rows[:1500])
    first = builder.build()
    builder.add(rows[1500:])
    assert_statistics_match(first, rows[:1500], 1e-10)
    assert_statistics_match(builder.build(), rows, 1e-10)


def test_bytes_round_trip_exactly(rows: Rows) -> None:
    moments = Moments.from_rows(rows, rows[0])
    back = Moments.from_bytes(moments.to_bytes())
    assert back.count == moments.count
    for name in ("shift", "total", "cross", "rounding"):
        np.testing.assert_array_equal(getattr(back, name), getattr(moments, name))


def test_bytes_contain_half_of_the_symmetric_matrix() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 300))
    moments = Moments.from_rows(rows, rows[0]) - Moments.from_rows(rows[:7], rows[0])
    content = moments.to_bytes()
    assert len(content) < 0.55 * moments.cross.nbytes
    np.testing.assert_array_equal(Moments.from_bytes(content).cross, moments.cross)


def test_bytes_of_earlier_builds_with_the_whole_matrix_are_read(rows: Rows) -> None:
    moments = Moments.from_rows(rows, rows[0])
    buffer = io.BytesIO()
    np.savez(buffer, **vars(moments))
    np.testing.assert_array_equal(Moments.from_bytes(buffer.getvalue()).cross, moments.cross)


@pytest.mark.parametrize("name", ["cross_upper", "shift"])
def test_bytes_with_arrays_of_other_sizes_are_rejected(rows: Rows, name: str) -> None:
    buffer = io.BytesIO(Moments.from_rows(rows, rows[0]).to_bytes())
    with np.load(buffer) as stored:
        arrays = dict(stored) | {name: stored[name][1:]}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(SnapshotError, match="upper triangle"):
        Moments.from_bytes(buffer.getvalue())


@pytest.mark.parametrize("name", ["shift", "total", "rounding", "cross"])
@pytest.mark.parametrize(
    "change", [lambda a: a[1:], lambda a: a[..., None], lambda a: a.astype(str), lambda _: 1.0]
)
def test_bytes_with_arrays_of_other_shapes_or_types_are_rejected(
    rows: Rows, name: str, change: Callable[[Any], Any]
) -> None:
    arrays = vars(Moments.from_rows(rows, rows[0]))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays | {name: change(arrays[name])})
    with pytest.raises(SnapshotError, match=r"is an array of .* of shape"):
        Moments.from_bytes(buffer.getvalue())


@pytest.mark.parametrize("cut", [0, 10, 2000, -1])
def test_truncated_bytes_are_rejected_in_one_line(rows: Rows, cut: int) -> None:
    content = Moments.from_rows(rows, rows[0]).to_bytes()[:cut]
    with pytest.raises(
        SnapshotError, match=f"of {len(content)} bytes .*refit with --full"
    ) as error:
        Moments.from_bytes(content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_rows_are_counted_and_none_is_added(rows: Rows, value: float) -> None:
    broken = rows.copy()
    broken[[5, 2500], 2] = value
    builder = MomentsBuilder(rows[0])
    with pytest.raises(SnapshotError, match="NaN or infinity in 2 of 3,000 rows"):
        builder.add(broken)
    assert builder.build().count == 0


def test_different_shifts_cannot_be_combined(rows: Rows) -> None:
    one, other = Moments.from_rows(rows, rows[0]), Moments.from_rows(rows, rows[1])
    with pytest.raises(ValueError, match="different shifts"):
        _ = one + other
    with pytest.raises(ValueError, match="different shifts"):
        _ = one - other


def test_subtraction_of_more_rows_than_there_are_is_rejected(rows: Rows) -> None:
    with pytest.raises(ValueError, match="cannot subtract 3,000 rows from 10"):
        _ = Moments.from_rows(rows[:10], rows[0]) - Moments.from_rows(rows, rows[0])


def test_rows_of_different_width_are_rejected(rows: Rows) -> None:
    with pytest.raises(ValueError, match=r"\(n, 5\)"):
        Moments.from_rows(rows, np.zeros(5))


def test_statistics_of_too_few_rows_are_rejected(rows: Rows) -> None:
    with pytest.raises(ValueError, match="0 rows, but at least 1"):
        Moments.zero(rows[0]).mean()
    with pytest.raises(ValueError, match="1 row, but at least 2"):
        Moments.from_rows(rows[:1], rows[0]).covariance()
