"""Tests for `batch_pca.pca.subspace_angles`, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest

from batch_pca.pca.subspace_angles import principal_angles


def basis(k: int, d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, k)))[0].T


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (2, 2), (5, 3), (3, 5), (20, 20)])
def test_principal_angles_match_scipy(k1: int, k2: int) -> None:
    one, other = basis(k1, 64, 1), basis(k2, 64, 2)
    from scipy.linalg import subspace_angles

    expected = np.degrees(subspace_angles(one.T, other.T))
    np.testing.assert_allclose(principal_angles(one, other), expected[::-1], atol=1e-10)


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 1e-3, 1.0, 45.0, 89.999, 90.0])
def test_rotation_is_measured_accurately(degrees: float) -> None:
    one = np.eye(3, 8)
    angle = np.radians(degrees)
    other = one.copy()
    other[2] = np.cos(angle) * np.eye(8)[2] + np.sin(angle) * np.eye(8)[5]
    np.testing.assert_allclose(principal_angles(one, other), [0, 0, degrees], atol=1e-12, rtol=1e-9)


def test_order_and_signs_of_components_do_not_matter() -> None:
    one = basis(4, 16, 3)
    assert principal_angles(one, -one[[2, 0, 3, 1]]).max() < 1e-6


def test_bases_of_different_widths_are_rejected() -> None:
    with pytest.raises(ValueError, match="bases have different widths"):
        principal_angles(basis(2, 8, 1), basis(2, 9, 1))
