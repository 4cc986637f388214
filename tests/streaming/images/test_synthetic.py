"""Tests for `streaming.images.synthetic`: reproducible images that vary within a label."""

from __future__ import annotations

import numpy as np
import pytest

from streaming.errors import UsageError
from streaming.images.synthetic import SAMPLE_LABELS, draw


def test_labels_are_valid_folder_names() -> None:
    assert 5 <= len(SAMPLE_LABELS) == len(set(SAMPLE_LABELS))
    assert any(" " in label for label in SAMPLE_LABELS)
    assert not any(label.startswith((".", "_")) or "/" in label for label in SAMPLE_LABELS)


@pytest.mark.parametrize("label", SAMPLE_LABELS)
def test_draw_depends_on_the_seed(label: str) -> None:
    first, again, other = (draw(label, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first.size == again.size
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_draw_returns_rgb_on_light_background() -> None:
    rng = np.random.default_rng(1)
    images = [draw(label, rng) for label in SAMPLE_LABELS for _ in range(5)]
    assert {image.mode for image in images} == {"RGB"}
    assert all(100 <= side <= 160 for image in images for side in image.size)
    assert len({image.size for image in images}) > len(images) / 2
    for image in images:
        pixels = np.asarray(image)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert np.median(border) > 190


def test_bananas_vary_in_rotation_and_size() -> None:
    angles, areas = [], []
    for seed in range(12):
        pixels = np.asarray(draw("Banana", np.random.default_rng(seed)), np.float64)
        rows, columns = np.nonzero(np.ptp(pixels, axis=2) > 80)  # no such color in the background
        _, axes = np.linalg.eigh(np.cov(columns, rows))
        angles.append(np.degrees(np.arctan2(*axes[:, 1])) % 180)
        areas.append(len(rows))
    assert len({angle // 45 for angle in angles}) == 4
    assert max(areas) > 1.3 * min(areas)


def test_unknown_label_error_lists_known_labels() -> None:
    with pytest.raises(UsageError, match=r"'Durian'.*Apple Red"):
        draw("Durian", np.random.default_rng(0))
