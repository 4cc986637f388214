"""Tests for `batch_pca.pca.fit`, against scikit-learn's StandardScaler and PCA(svd_solver="full")."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from batch_pca.pca.fit import FitOptions, Reduction, components_reaching, fit
from batch_pca.pca.moments import Moments
from streaming.errors import SnapshotError, UsageError

if TYPE_CHECKING:  # importing scikit-learn takes seconds
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

Rows = NDArray[np.float64]


def clustered(count: int, width: int, seed: int = 0) -> Rows:
    """Return rows that vary along 10 directions of decreasing scale, so that the eigenvalues are well separated."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(99).normal(size=(width, 10)))[0]
    scores = random.normal(size=(count, 10)) * 20 * 0.7 ** np.arange(10)
    return np.asarray(scores @ directions.T + random.normal(0, 0.1, (count, width)))


PLAIN = clustered(600, 40)
SHORT = clustered(20, 100)
WITH_CONSTANTS = PLAIN[:300].copy()
WITH_CONSTANTS[:, [7, 20]] = [0.0, 0.1]
AFTER_RELU6 = np.clip(clustered(500, 60) * 2, 0, 6).astype(np.float32).astype(np.float64)
CASES = {
    "plain": PLAIN,
    "few rows": clustered(20, 1280),
    "constant columns": WITH_CONSTANTS,
    "huge mean, small spread": 1e6 + 1e-3 * clustered(400, 30),
    "after ReLU6": AFTER_RELU6,
}


def fitted(rows: Rows, components: int = 5) -> Reduction:
    return fit(Moments.from_rows(rows, rows[:10].mean(axis=0)), FitOptions(components=components))


@dataclass
class Case:
    """Rows, their fit by Pomona, and their fit by scikit-learn."""

    rows: Rows
    reduction: Reduction
    scaler: StandardScaler
    pca: PCA


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    rows = CASES[request.param]
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(rows)
    pca = PCA(svd_solver="full").fit(scaler.transform(rows))
    return Case(rows, fitted(rows), scaler, pca)


def test_ratios_and_rank_match_scikit_learn(case: Case) -> None:
    ratio = case.reduction.explained_variance_ratio
    varying = int((case.scaler.var_ > 1e-20).sum())
    assert len(ratio) == min(len(case.rows) - 1, varying)
    np.testing.assert_allclose(ratio, case.pca.explained_variance_ratio_[: len(ratio)], atol=1e-6)
    assert case.reduction.explained_variance.sum() == pytest.approx(varying, rel=1e-10)
    assert case.reduction.cumulative[-1] == pytest.approx(1.0)


def test_components_match_scikit_learn_up_to_sign(case: Case) -> None:
    components, expected = case.reduction.components, case.pca.components_[:5]
    signs = np.sign((components * expected).sum(axis=1))[:, np.newaxis]
    np.testing.assert_allclose(components, signs * expected, atol=1e-4)
    np.testing.assert_allclose(components @ components.T, np.eye(5), atol=1e-12)


def test_scores_match_scikit_learn_except_for_divisor_n(case: Case) -> None:
    scores = case.reduction.transform(case.rows)
    expected = case.pca.transform(case.scaler.transform(case.rows))[:, :5]
    signs = np.sign((scores * expected).sum(axis=0))
    factor = np.sqrt(1 - 1 / len(case.rows))
    np.testing.assert_allclose(scores, expected * signs * factor, atol=1e-4)
    variance = scores.var(axis=0, ddof=1)
    np.testing.assert_allclose(variance, case.reduction.explained_variance[:5], rtol=1e-6)


def test_scaler_std_is_sample_std_and_0_for_constant_columns() -> None:
    rows = WITH_CONSTANTS
    result = fit(Moments.from_rows(rows, np.full(40, 7.3)), FitOptions(components=5))
    np.testing.assert_allclose(result.mean, rows.mean(axis=0), atol=1e-12)
    varying = np.delete(np.arange(40), [7, 20])
    np.testing.assert_allclose(result.std[varying], rows[:, varying].std(axis=0, ddof=1))
    assert np.flatnonzero(result.std == 0.0).tolist() == [7, 20]
    assert result.constant_columns == 2


def test_constant_column_does_not_affect_scores_of_rows_that_differ() -> None:
    result = fitted(WITH_CONSTANTS)
    changed = WITH_CONSTANTS + 5.0 * np.isin(np.arange(40), [7, 20])
    np.testing.assert_array_equal(result.transform(changed), result.transform(WITH_CONSTANTS))


def test_limited_by_rows_only_with_few_rows() -> None:
    assert [fitted(clustered(count, 40)).limited_by_rows for count in (40, 41)] == [True, False]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_variance_keeps_as_many_components_as_scikit_learn(share: float) -> None:
    rows = AFTER_RELU6
    result = fit(Moments.from_rows(rows, rows[0]), FitOptions(variance=share))
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    expected = PCA(n_components=share, svd_solver="full").fit(StandardScaler().fit_transform(rows))
    assert result.k == result.components_for(share) == expected.n_components_


def test_variance_of_1_keeps_full_rank() -> None:
    assert fit(Moments.from_rows(SHORT, SHORT[0]), FitOptions(variance=1.0)).k == 19


def test_variance_reached_exactly_keeps_no_extra_component() -> None:
    tenths = np.full(10, 0.1)  # ten of them sum to a little less than 1
    assert [components_reaching(tenths, share) for share in (0.05, 0.3, 0.8, 1.0)] == [1, 3, 8, 10]


def test_largest_loading_is_positive() -> None:
    components = fitted(PLAIN).components
    assert (components[np.arange(5), np.abs(components).argmax(axis=1)] > 0).all()


def test_equal_loadings_give_deterministic_sign() -> None:
    half = fitted(np.hstack([PLAIN, -PLAIN])).components[:, :40]
    assert (half[np.arange(5), np.abs(half).argmax(axis=1)] > 0).all()


def test_signs_are_kept_after_adding_one_percent_of_rows() -> None:
    rows = clustered(1000, 40)
    previous = fitted(rows).components * np.array([1, -1, 1, -1, -1])[:, np.newaxis]
    grown = np.vstack([rows, clustered(10, 40, seed=5)])
    after = fit(Moments.from_rows(grown, rows[0]), FitOptions(components=5), previous)
    assert ((after.components * previous).sum(axis=1) > 0.99).all()


def test_signs_follow_reordered_components() -> None:
    rows = clustered(1000, 40)
    previous = -fitted(rows).components[[1, 0, 3]]
    after = fit(Moments.from_rows(rows, rows[0]), FitOptions(components=4), previous).components
    dots = [after[0] @ previous[1], after[1] @ previous[0], after[3] @ previous[2]]
    np.testing.assert_allclose(dots, 1.0)
    assert (
        after[2][np.abs(after[2]).argmax()] > 0
    )  # no similar previous component: the rule of a first fit


def test_signs_ignore_dissimilar_previous_components() -> None:
    rows = clustered(1000, 40)
    own = fitted(rows).components
    # Nearly orthogonal to all components, with small negative cosines.
    dissimilar = np.linalg.svd(own)[2][5:8] - 0.2 * own[:3]
    after = fit(Moments.from_rows(rows, rows[0]), FitOptions(components=5), dissimilar)
    np.testing.assert_allclose(after.components, own, atol=1e-8)


def test_previous_components_of_different_width_are_rejected() -> None:
    with pytest.raises(ValueError, match="width 7, not 40"):
        fit(Moments.from_rows(PLAIN, PLAIN[0]), FitOptions(components=2), np.ones((2, 7)))


@pytest.mark.parametrize(
    ("rows", "components", "message"),
    [
        (SHORT, 20, "20 components are too many, 20 rows allow at most 19 components: use 19"),
        (
            WITH_CONSTANTS,
            39,
            "39 components are too many, the number of columns that vary is 38: use 38",
        ),
        (PLAIN[[0] * 30], 1, "no column of 30 rows varies"),
        (PLAIN[:0], 1, "^a fit needs at least 2 rows, not 0: ingest more"),
        (PLAIN[:1], 1, "^a fit needs at least 2 rows, not 1"),
    ],
)
def test_rows_that_cannot_be_fitted_are_rejected(rows: Rows, components: int, message: str) -> None:
    with pytest.raises(SnapshotError, match=message) as error:
        fit(Moments.from_rows(rows, np.zeros(rows.shape[1])), FitOptions(components))
    assert "\n" not in str(error.value)


def test_options_accept_numpy_scalars() -> None:
    for options, expected in (
        (FitOptions(components=np.int64(5)), FitOptions(components=5)),
        (FitOptions(variance=np.float32(0.5)), FitOptions(variance=0.5)),
        (FitOptions(variance=1), FitOptions(variance=1.0)),
    ):
        assert repr(options) == repr(expected)
        assert json.dumps([options.components, options.variance])


@pytest.mark.parametrize("components", [50.0, True, "50", np.float64(5)])
def test_number_of_components_is_an_integer(components: Any) -> None:
    with pytest.raises(
        UsageError, match=re.escape(f"components={components!r}: give an integer or None")
    ):
        FitOptions(components=components)


@pytest.mark.parametrize("variance", [True, "0.95", 1j])
def test_variance_is_a_number(variance: Any) -> None:
    with pytest.raises(
        UsageError, match=re.escape(f"variance={variance!r}: give a number or None")
    ):
        FitOptions(variance=variance)


@pytest.mark.parametrize(
    ("components", "variance", "message"),
    [
        (None, None, "components=None and variance=None: give exactly one"),
        (3, 0.9, "components=3 and variance=0.9: give exactly one"),
        (-2, None, "components=-2 is below 1"),
        (None, 0.0, r"variance=0.0 is outside \(0, 1\]"),
        (None, 95.0, r"variance=95.0 is outside \(0, 1\].*0.95 for 95%"),
        (None, float("nan"), "variance=nan is outside"),
    ],
)
def test_invalid_options_are_rejected(
    components: int | None, variance: float | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        FitOptions(components, variance)
