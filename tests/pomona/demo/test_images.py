"""What the drawn photographs promise to the demo: repeatable, readable, alike within a label."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pomona.demo.images import SAMPLE_LABELS, draw, write_broken, write_samples
from streaming.errors import UsageError


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file under the folder, by its name relative to it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_labels_are_folder_names_and_one_has_a_space() -> None:
    assert 5 <= len(SAMPLE_LABELS) == len(set(SAMPLE_LABELS))
    assert any(" " in label for label in SAMPLE_LABELS)
    assert not any(label.startswith((".", "_")) or "/" in label for label in SAMPLE_LABELS)


@pytest.mark.parametrize("label", SAMPLE_LABELS)
def test_the_same_seed_draws_the_same_pixels_and_another_draws_others(label: str) -> None:
    first, again, other = (draw(label, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first.size == again.size
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_a_picture_is_rgb_on_a_light_ground_with_sides_from_100_to_160() -> None:
    rng = np.random.default_rng(1)
    pictures = [draw(label, rng) for label in SAMPLE_LABELS for _ in range(5)]
    assert {picture.mode for picture in pictures} == {"RGB"}
    assert all(100 <= side <= 160 for picture in pictures for side in picture.size)
    assert len({picture.size for picture in pictures}) > len(pictures) / 2
    for picture in pictures:
        pixels = np.asarray(picture)
        rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert np.median(rim) > 190


def test_bananas_lie_any_way_round_and_differ_in_size() -> None:
    angles, areas = [], []
    for seed in range(12):
        pixels = np.asarray(draw("Banana", np.random.default_rng(seed)), np.float64)
        rows, columns = np.nonzero(np.ptp(pixels, axis=2) > 80)  # the ground has no such colour
        _, axes = np.linalg.eigh(np.cov(columns, rows))
        angles.append(np.degrees(np.arctan2(*axes[:, 1])) % 180)
        areas.append(len(rows))
    assert len({angle // 45 for angle in angles}) == 4
    assert max(areas) > 1.3 * min(areas)


def test_an_unknown_label_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'Durian'.*Apple Red"):
        draw("Durian", np.random.default_rng(0))


def test_files_are_numbered_decode_as_their_suffix_says_and_leave_nothing_else(
    tmp_path: Path,
) -> None:
    assert write_samples(tmp_path, per_label=4, start=4) == 4 * len(SAMPLE_LABELS)
    kinds = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
    seen = set()
    for label in SAMPLE_LABELS:
        paths = list((tmp_path / label).iterdir())
        assert sorted(int(path.stem) for path in paths) == [4, 5, 6, 7]
        for path in paths:
            with Image.open(path) as image:
                image.load()
                assert image.format == kinds[path.suffix]
            seen.add(path.suffix)
    assert seen == set(kinds)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(SAMPLE_LABELS)


def test_two_calls_that_continue_each_other_write_what_one_would(tmp_path: Path) -> None:
    write_samples(tmp_path / "whole", per_label=3, seed=5)
    write_samples(tmp_path / "parts", per_label=2, seed=5)
    write_samples(tmp_path / "parts", per_label=1, seed=5, start=2)
    write_samples(tmp_path / "other", per_label=3, seed=6)
    whole, other = contents(tmp_path / "whole"), contents(tmp_path / "other")
    assert whole == contents(tmp_path / "parts")
    assert len(set(whole.values()) | set(other.values())) == len(whole) + len(other)


def test_a_file_appears_under_its_name_only_once_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = []
    write_bytes = Path.write_bytes

    def recorded(path: Path, content: bytes) -> int:
        targets.append(path)
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", recorded)
    count = write_samples(tmp_path, per_label=1) + write_broken(tmp_path)
    assert len(targets) == count + 1  # and the notes
    assert all(path.name.startswith(".") for path in targets)
    assert {path.parent.parent for path in targets} == {tmp_path}
    assert not any(name.rpartition("/")[2].startswith(".") for name in contents(tmp_path))


@pytest.mark.parametrize("wrong", [{"per_label": -1}, {"seed": -1}, {"start": -1}])
def test_a_negative_number_is_an_error_that_names_it(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}=-1"):
        write_samples(tmp_path, **{"per_label": 1, **wrong})
    assert not list(tmp_path.iterdir())


def test_broken_images_lie_among_the_samples_and_pillow_reads_none(tmp_path: Path) -> None:
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


def test_the_gigantic_image_is_refused_for_its_size_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_broken(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(next(tmp_path.rglob("*gigantic*"))) as image:
        assert image.width * image.height > 1_000_000_000


def test_labels_cluster_by_colour_alone() -> None:
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
    assert np.sort(distances, axis=1)[:, 0].min() > 0.01  # neighbors, not copies


def test_sixty_images_take_less_than_two_seconds(tmp_path: Path) -> None:
    started = time.process_time()
    write_samples(tmp_path, per_label=10)
    assert time.process_time() - started < 2
