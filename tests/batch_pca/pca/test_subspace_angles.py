"""Tests for `batch_pca.pca.subspace_angles`.

SciPy's angles between subspaces, and one that small components hardly move.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from batch_pca.pca.subspace_angles import principal_angles, weighted_angle


def basis(k: int, d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, k)))[0].T


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (2, 2), (5, 3), (3, 5), (20, 20)])
def test_angles_are_those_of_scipy(k1: int, k2: int) -> None:
    one, other = basis(k1, 64, 1), basis(k2, 64, 2)
    expected = np.degrees(subspace_angles(one.T, other.T))
    np.testing.assert_allclose(principal_angles(one, other), expected[::-1], atol=1e-10)


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 1e-3, 1.0, 45.0, 89.999, 90.0])
def test_a_turn_is_told_to_the_last_digits(degrees: float) -> None:
    one = np.eye(3, 8)
    turn = np.radians(degrees)
    other = one.copy()
    other[2] = np.cos(turn) * np.eye(8)[2] + np.sin(turn) * np.eye(8)[5]
    np.testing.assert_allclose(principal_angles(one, other), [0, 0, degrees], atol=1e-12, rtol=1e-9)


def test_the_order_and_the_signs_of_components_turn_no_subspace() -> None:
    one = basis(4, 16, 3)
    assert principal_angles(one, -one[[2, 0, 3, 1]]).max() < 1e-6
    assert weighted_angle(one, np.arange(1, 5), -one[[2, 0, 3, 1]]) < 1e-6


def test_bases_of_different_widths_have_no_angle() -> None:
    with pytest.raises(ValueError, match="lie in different spaces"):
        principal_angles(basis(2, 8, 1), basis(2, 9, 1))


def test_a_component_weighs_what_it_explains() -> None:
    one, other = np.eye(2, 8), np.eye(2, 8)
    other[1] = np.eye(8)[5]  # the second component is another
    assert weighted_angle(one, np.array([3.0, 1.0]), other) == pytest.approx(30)
    assert weighted_angle(one, np.array([1.0, 0.0]), other) == 0
    assert weighted_angle(one, np.array([0.0, 1.0]), other) == 90
    assert weighted_angle(other, np.array([1.0, 1.0]), one) == pytest.approx(45)
    assert weighted_angle(one, np.array([1.0, 1.0]), np.vstack([other, np.eye(8)[1:2]])) == 0
