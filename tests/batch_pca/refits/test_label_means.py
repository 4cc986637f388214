"""Tests for `batch_pca.refits.label_means`, against `groupby` of pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batch_pca.refits import label_means as labels_module
from batch_pca.refits.folder import RefitFolder
from batch_pca.refits.label_means import LABELS_FILE, LabelSums, read_label_sums

RANDOM = np.random.default_rng(1)
NAMES = ["Apple Red 1", "Crème, brûlée", "two\nlines", "", "Ananas"]
LABELS = [NAMES[i] for i in RANDOM.integers(0, len(NAMES), 200)]
ROWS = RANDOM.normal(size=(200, 8)).astype(np.float32)


def sum_rows(start: int = 0, stop: int = 200) -> LabelSums:
    sums = LabelSums()
    for begin in range(start, stop, 30):
        end = min(begin + 30, stop)
        sums.add(pa.array(LABELS[begin:end]), ROWS[begin:end])
    return sums


def test_means_match_pandas() -> None:
    expected = pd.DataFrame(ROWS.astype(np.float64)).groupby(np.array(LABELS)).mean()
    means = sum_rows().means()
    assert list(means) == expected.index.tolist()
    np.testing.assert_allclose(np.array(list(means.values())), expected.to_numpy(), rtol=1e-12)


def test_merged_parts_equal_the_whole_after_round_trip() -> None:
    whole = LabelSums()
    for start, stop in ((0, 70), (70, 70), (70, 200)):
        whole.merge(LabelSums.from_bytes(sum_rows(start, stop).to_bytes()))
    assert whole.means().keys() == sum_rows().means().keys()
    for name, mean in sum_rows().means().items():
        np.testing.assert_allclose(whole.means()[name], mean, rtol=1e-12)


def test_too_many_labels_have_counts_and_no_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "MAX_LABELS", 4)
    sums = sum_rows()
    assert (sums.means(), sums.complete) == ({}, False)
    sums.add(pa.array(["Fig"]), ROWS[:1])
    few = LabelSums()
    few.add(pa.array(["Fig"]), ROWS[:1])
    few.merge(LabelSums.from_bytes(sums.to_bytes()))
    assert few.means() == {}
    expected = pd.Series([*LABELS, "Fig", "Fig"]).value_counts().to_dict()
    assert few.counts == LabelSums.from_bytes(few.to_bytes()).counts == expected


def test_missing_damaged_or_uncounted_file_has_no_sums(tmp_path: Path) -> None:
    folder = RefitFolder(f"file:{tmp_path}")
    assert read_label_sums(folder, 8) is None
    whole = sum_rows().to_bytes()
    # Earlier versions of Pomona did not count the labels if there were too many.
    uncounted = LabelSums(complete=False).to_bytes()
    for content in (b"", b"PK", whole[:300], whole[:-30], uncounted):
        (tmp_path / LABELS_FILE).write_bytes(content)
        assert read_label_sums(folder, 8) is None
    (tmp_path / LABELS_FILE).write_bytes(whole)
    found = read_label_sums(folder, 8)
    assert found
    assert found.counts == pd.Series(LABELS).value_counts().to_dict()
    assert len(found.means()) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("sums", np.zeros((5, 7))),
        ("sums", np.zeros((4, 8))),
        ("sums", np.zeros(5)),
        ("sums", np.array(0.0)),
        ("sums", np.full((5, 8), np.nan)),
        ("sums", np.full((5, 8), np.inf)),
        ("sums", np.zeros((5, 8), np.complex128)),
        ("sums", np.full((5, 8), "x")),
        ("counts", np.array([1, 0, 1, 1, 1])),
        ("counts", np.full(5, np.nan)),
        ("counts", np.array(5)),
        ("labels", np.arange(5)),
        ("labels", np.array("x")),
        ("full", np.array([True, False])),
    ],
)
def test_array_of_other_shape_type_or_values_is_damage(
    tmp_path: Path, name: str, array: np.ndarray
) -> None:
    (tmp_path / LABELS_FILE).write_bytes(sum_rows().to_bytes())
    with np.load(tmp_path / LABELS_FILE) as stored:
        arrays = dict(stored)
    np.savez(tmp_path / LABELS_FILE, **(arrays | {name: array}))
    assert read_label_sums(RefitFolder(f"file:{tmp_path}"), 8) is None


def test_file_with_one_array_is_damage(tmp_path: Path) -> None:
    with (tmp_path / LABELS_FILE).open("wb") as file:
        np.save(file, np.zeros(3))
    assert read_label_sums(RefitFolder(f"file:{tmp_path}"), 8) is None
