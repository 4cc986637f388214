"""Small pictures: of images as they were featurized, in a table that delta-rs writes."""

from __future__ import annotations

import hashlib
import io
import time
from collections import Counter
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from batch_pca.report import thumbnails
from batch_pca.report.thumbnails import MOST, choose, load_thumbnails
from streaming.lake.layout import Lake


def photo(colour: str, size: tuple[int, int] = (120, 60)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def lake_of(folder: Path, contents: dict[str, bytes]) -> Lake:
    """A lake of these images, which lie in a folder beside it."""
    lake = Lake.at(str(folder / "lake"))
    for name, content in contents.items():
        place = folder / "photos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    table = pa.table(
        {
            "path": [f"file:{folder}/photos/{name}" for name in contents],
            "content_hash": [hashlib.sha256(content).hexdigest() for content in contents.values()],
            "length": pa.array(map(len, contents.values()), pa.int64()),
        }
    )
    deltalake.write_deltalake(lake.features.removeprefix("file:"), table)
    return lake


def test_a_picture_is_small_and_shows_the_image(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, {"O'Neil/a.png": photo("#ff0000"), "b/b.png": photo("#0000ff")})
    paths = [f"file:{tmp_path}/photos/{name}" for name in ("O'Neil/a.png", "b/b.png")]
    made = load_thumbnails(lake, 0, paths)
    assert list(made) == paths
    for path, colour in zip(paths, ((255, 0, 0), (0, 0, 255)), strict=True):
        picture = Image.open(io.BytesIO(made[path]))
        assert (picture.format, picture.size) == ("JPEG", (96, 96))
        assert np.abs(np.asarray(picture, dtype=int) - colour).max() < 8
        assert len(made[path]) < 4000


def test_what_is_gone_changed_broken_or_long_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("kept", "gone", "changed", "broken", "long")
    contents = {f"Fig/{name}.png": photo("#00ff00", (9 + i, 9)) for i, name in enumerate(names)}
    contents["Fig/broken.png"] = b"\x89PNG in name alone"
    contents["Fig/long.png"] += bytes(10_000)
    monkeypatch.setattr(thumbnails, "_LONGEST", 9_000)
    lake = lake_of(tmp_path, contents)
    (tmp_path / "photos/Fig/gone.png").unlink()
    (tmp_path / "photos/Fig/changed.png").write_bytes(photo("#123456"))
    paths = [f"file:{tmp_path}/photos/{name}" for name in contents]
    assert list(load_thumbnails(lake, 0, [*paths, "gs://elsewhere/a.png"])) == paths[:1]
    assert load_thumbnails(lake, 0, []) == {}


def test_a_storage_that_does_not_answer_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = lake_of(tmp_path, {"Fig/a.png": photo("#00ff00")})
    monkeypatch.setattr(thumbnails, "_SECONDS", 0.1)
    monkeypatch.setattr(thumbnails, "open_storage", lambda path: time.sleep(2))
    started = time.monotonic()
    assert load_thumbnails(lake, 0, [f"file:{tmp_path}/photos/Fig/a.png"]) == {}
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("labels", [1, 2, 24, 131, MOST, 1000])
def test_every_label_has_as_many_pictures_and_all_have_no_more_than_so_many(labels: int) -> None:
    paths = [f"file:/{number:05}" for number in range(5000)]
    named = [f"label {number % labels}" for number in range(5000)]
    chosen = choose(paths, named)
    counts = Counter(named[paths.index(path)] for path in chosen)
    assert len(chosen) == len(set(chosen)) <= MOST
    assert len(counts) == min(labels, len(chosen))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(chosen) > MOST // 3
    assert choose([], []) == []
