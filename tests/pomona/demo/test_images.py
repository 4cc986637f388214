"""Tests for `pomona.demo.images`: reproducible, decodable images that cluster by label."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pomona.demo.images import write_broken, write_samples
from streaming.errors import UsageError
from streaming.images.synthetic import SAMPLE_LABELS, draw


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder by relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_write_samples_writes_numbered_files_in_three_formats(
    tmp_path: Path,
) -> None:
    assert write_samples(tmp_path, per_label=4, start=4) == 4 * len(SAMPLE_LABELS)
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
    suffixes = set()
    for label in SAMPLE_LABELS:
        paths = list((tmp_path / label).iterdir())
        assert sorted(int(path.stem) for path in paths) == [4, 5, 6, 7]
        for path in paths:
            with Image.open(path) as image:
                image.load()
                assert image.format == formats[path.suffix]
            suffixes.add(path.suffix)
    assert suffixes == set(formats)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(SAMPLE_LABELS)


def test_consecutive_calls_write_the_same_files_as_one_call(tmp_path: Path) -> None:
    write_samples(tmp_path / "whole", per_label=3, seed=5)
    write_samples(tmp_path / "parts", per_label=2, seed=5)
    write_samples(tmp_path / "parts", per_label=1, seed=5, start=2)
    write_samples(tmp_path / "other", per_label=3, seed=6)
    whole, other = contents(tmp_path / "whole"), contents(tmp_path / "other")
    assert whole == contents(tmp_path / "parts")
    assert len(set(whole.values()) | set(other.values())) == len(whole) + len(other)


def test_files_are_written_under_a_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    replace = os.replace

    def recorded(temporary: Path, target: Path) -> None:
        written.append(temporary)
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", recorded)
    count = write_samples(tmp_path, per_label=1) + write_broken(tmp_path)
    assert len(written) == count + 1  # and notes.txt
    assert all(path.name.startswith(".") for path in written)
    assert {path.parent.parent for path in written} == {tmp_path}
    assert not any(name.rpartition("/")[2].startswith(".") for name in contents(tmp_path))


@pytest.mark.parametrize("arguments", [{"per_label": -1}, {"seed": -1}, {"start": -1}])
def test_negative_number_is_an_error(tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(arguments))}=-1"):
        write_samples(tmp_path, **{"per_label": 1, **arguments})
    assert not list(tmp_path.iterdir())


def test_broken_images_cannot_be_decoded(tmp_path: Path) -> None:
    write_samples(tmp_path, per_label=1)
    good = contents(tmp_path)
    count = write_broken(tmp_path)
    added = {name: data for name, data in contents(tmp_path).items() if name not in good}
    images = [name for name in added if not name.endswith("notes.txt")]
    assert len(images) == count >= 5
    assert len(added) == count + 1
    assert all(name.split("/")[0] in SAMPLE_LABELS for name in added)
    assert sum(data == b"" for data in added.values()) == 1
    for name in images:
        assert name.endswith((".jpg", ".png"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises((OSError, Image.DecompressionBombError)):
                Image.open(tmp_path / name).load()


def test_gigantic_image_has_a_valid_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_broken(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(next(tmp_path.rglob("*gigantic*"))) as image:
        assert image.width * image.height > 1_000_000_000


def test_labels_cluster_by_color() -> None:
    per_label = 10
    histograms, labels = [], np.repeat(SAMPLE_LABELS, per_label)
    for index, label in enumerate(labels):
        pixels = np.asarray(draw(str(label), np.random.default_rng(index))).reshape(-1, 3)
        counts, _ = np.histogramdd(pixels, bins=6, range=[(0, 256)] * 3)
        histograms.append(counts.ravel() / len(pixels))
    points = np.array(histograms)
    distances = np.abs(points[:, None] - points[None]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    assert np.mean(labels[distances.argmin(axis=1)] == labels) > 0.8
    assert np.sort(distances, axis=1)[:, 0].min() > 0.01  # no two images are equal


def test_sixty_images_take_under_two_seconds(tmp_path: Path) -> None:
    started = time.process_time()
    write_samples(tmp_path, per_label=10)
    assert time.process_time() - started < 2
