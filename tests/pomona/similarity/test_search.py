"""Tests for `pomona similar` and `pomona duplicates`, without Spark: what they tell, and how they refuse."""

from __future__ import annotations

import html.parser
import shutil
from pathlib import Path

import numpy as np
import pytest

from pomona.similarity.report import page
from pomona.similarity.search import Neighbor, SimilarityResult, similar
from streaming.storage.interface import local_path
from support.cli import Command, forbid_spark, shown
from support.deltars_lakes import (
    append,
    create_deltars_lake,
    nearest_neighbors,
    random_images,
    use_cache_folder,
)
from support.feature_lakes import Images
from support.lakes import jpeg, put

WIDTH = 24


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    forbid_spark(monkeypatch)
    return use_cache_folder(monkeypatch, tmp_path / "cache")


def photos(folder: Path, count: int) -> Images:
    """Images that are there, with made-up features."""
    rows = random_images(count, WIDTH)
    paths = []
    for number in range(count):
        file = folder / rows.labels[number] / f"{number}.jpg"
        put(file, jpeg(number))
        paths.append(f"file:{file}")
    return Images(paths, rows.labels, rows.vectors)


def test_the_nearest_are_told_with_their_labels_and_a_vote(tmp_path: Path, pomona: Command) -> None:
    rows = photos(tmp_path / "photos", 60)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    oracle = nearest_neighbors(rows, rows.vectors[8], 6)[1:]
    labels = dict(zip(rows.paths, rows.labels, strict=True))
    asked = local_path(rows.paths[8])
    told = pomona("similar", tmp_path / "lake", asked, "--top", 5, "--json").json
    assert [one["path"] for one in told["neighbours"]] == [shown(path) for path, _ in oracle]
    assert [one["cosine"] for one in told["neighbours"]] == pytest.approx([c for _, c in oracle])
    assert [one["label"] for one in told["neighbours"]] == [labels[path] for path, _ in oracle]
    assert (told["label"], told["rows"], told["version"]) == (rows.labels[8], 60, 0)
    assert sum(told["vote"].values()) == 5
    lines = pomona("similar", lake.root, rows.paths[8], "--top", 5).out.splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith(f"vote: {next(iter(told['vote'].values()))} ")
    assert lines[-1].endswith(f"(it is labelled {rows.labels[8]})")


def test_earlier_versions_can_be_asked(tmp_path: Path) -> None:
    one, two = random_images(30, WIDTH, 1), random_images(30, WIDTH, 2)
    lake = create_deltars_lake(tmp_path / "lake", one, two)
    then = similar(lake.root, one.paths[0], 60, "0")
    assert {found.path for found in then.neighbors} == set(one.paths[1:])
    assert similar(lake.root, one.paths[0], 60).rows == 60


def test_which_version_was_meant_is_said(tmp_path: Path, pomona: Command) -> None:
    rows = random_images(30, WIDTH)
    root = create_deltars_lake(tmp_path / "lake", rows).root
    for words in (("similar", root, rows.paths[0]), ("duplicates", root)):
        for as_json in ((), ("--json",)):
            done = pomona(*words, "--as-of", "0 seconds ago", *as_json)
            said = done.err if as_json else done.out
            assert said.startswith("as of  0 seconds ago ("), words
            assert ") is version 0 of " in said.splitlines()[0]


def test_the_vote_of_equals_goes_to_the_nearer() -> None:
    cosines = [("a", 0.9), ("b", 0.8), ("b", 0.7), ("a", 0.5), ("c", 0.4)]
    found = [Neighbor("file:/x", label, "", cosine) for label, cosine in cosines]
    assert SimilarityResult("file:/y", None, "", 0, 5, found).votes == [
        ("b", 2),
        ("a", 2),
        ("c", 1),
    ]


class Page(html.parser.HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_shows_the_pictures_and_loads_nothing(tmp_path: Path, pomona: Command) -> None:
    rows = photos(tmp_path / "<b>&amp; photos", 8)
    create_deltars_lake(tmp_path / "lake", rows)
    local_path(rows.paths[5]).unlink()
    report = tmp_path / "page.html"
    words = ("similar", tmp_path / "lake", rows.paths[0], "--top", 7, "--report", report)
    assert f"page: {report}" in pomona(*words).out
    text = report.read_text()
    shown = Page(text).tags
    pictures = [attributes for tag, attributes in shown if tag == "img"]
    assert len(pictures) == 7
    assert all(str(one["src"]).startswith("data:image/jpeg;base64,") for one in pictures)
    assert all(str(one["alt"]).startswith("The image file:/") for one in pictures)
    assert "no picture: FileNotFoundError" in text
    assert {tag for tag, _ in shown} & {"script", "link", "iframe", "b&amp;"} == set()
    assert "default-src 'none'" in text
    assert (
        "has changed since it was ingested" in text
    )  # their made-up hashes are not those of the files


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path, pomona: Command) -> None:
    create_deltars_lake(tmp_path / "lake", random_images(3, WIDTH))
    words = (
        "similar",
        tmp_path / "lake",
        "/photos/0/000000.jpg",
        "--report",
        tmp_path / "no" / "x",
    )
    assert "give a file in a writable folder" in pomona(*words).complaint


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("similar lake nowhere.jpg", 1, "nowhere.jpg: no image of version 0 of the lake"),
        ("similar lake .", 1, "no picture that can be read"),
        (
            f"similar lake {'x' * 300}.jpg",
            1,
            "and no picture that can be read (File name too long)",
        ),
        ("similar lake /photos/0/000000.jpg --top 0", 2, "--top 0: give 1 or more"),
        ("similar lake /photos/0/000000.jpg --as-of 7", 1, "no version 7"),
        ("similar lake picture.jpg", 1, "holds no model: ask about an image of the lake"),
        ("similar nowhere picture.jpg", 1, "nowhere is not a lake"),
        ("similar empty picture.jpg", 1, "has no rows"),
        ("duplicates nowhere", 1, "nowhere is not a lake"),
        ("duplicates lake --at-least 1.5", 2, "--at-least 1.5"),
        ("duplicates lake --top 0", 2, "--top 0"),
        ("duplicates lake --label Kiwis", 2, "--label Kiwis: no such label in version 0"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    pomona: Command,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    status: int,
    told: str,
) -> None:
    rows = random_images(3, WIDTH)
    create_deltars_lake(tmp_path / "lake", rows)
    create_deltars_lake(tmp_path / "empty", Images([], [], rows.vectors[:0]))
    put(tmp_path / "picture.jpg", jpeg())
    monkeypatch.chdir(tmp_path)
    done = pomona(*words.split())
    assert done.status == status
    assert told in done.complaint


def test_duplicates_are_told_by_bytes_and_by_features(tmp_path: Path, pomona: Command) -> None:
    rows = random_images(6, WIDTH)
    rows.vectors[1], rows.vectors[5] = rows.vectors[0], rows.vectors[4] * 2
    lake = create_deltars_lake(tmp_path / "lake")
    append(lake, rows, ["a", "a", "c", "d", "e", "f"])
    told = pomona("duplicates", lake.root, "--json").json
    images = [[shown(path), label] for path, label in zip(rows.paths, rows.labels, strict=True)]
    assert told["same_bytes"] == [{"content_hash": "a", "images": images[:2]}]
    assert told["near"] == [{"cosine": 1.0, "images": [images[4], images[5]]}]
    assert (told["near_count"], told["version"]) == (1, 0)
    text = pomona("duplicates", lake.root).out
    assert "same bytes: 2 images, 1 contents" in text
    assert "near duplicates: 1 pairs with a cosine of 0.98 or more" in text
    assert {"version", "same_bytes"} == set(
        pomona("duplicates", lake.root, "--same-bytes", "--json").json
    )
    label = rows.labels[4]
    assert pomona("duplicates", lake.root, "--label", label, "--json").json["near"] == []


def test_many_rows_are_compared_only_when_asked_again(
    tmp_path: Path, pomona: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_images(20, WIDTH)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    monkeypatch.setattr("pomona.similarity.duplicates.MAX_ROWS_WITHOUT_CONFIRMATION", 19)
    done = pomona("duplicates", lake.root)
    assert done.status == 3
    assert "same bytes: 0 images" in done.out
    assert "comparing all pairs of 20 images would take about 1 s here: give --yes" in done.err
    assert set(pomona("duplicates", lake.root, "--json").json) == {"version", "same_bytes"}
    for words in (("--yes",), ("--label", "label 1"), ("--same-bytes",)):
        assert pomona("duplicates", lake.root, *words).status == 0


def test_a_picture_that_is_not_in_the_lake_is_featurized(
    tmp_path: Path, random_model: Path
) -> None:
    from streaming.model.mobilenet_v2 import WIDTH as NETWORK
    from streaming.model.store import find_model

    extractor = find_model(f"file:{random_model}")
    assert extractor
    rows = random_images(5, NETWORK)
    lake = create_deltars_lake(
        tmp_path / "lake", Images(rows.paths, rows.labels, rows.vectors, extractor.model_id)
    )
    shutil.copytree(random_model, tmp_path / "lake" / "models")
    picture = tmp_path / "kiwi.jpg"
    put(picture, jpeg(3))
    found = similar(lake.root, str(picture), 5)
    assert (found.label, found.rows, found.image) == (None, 5, f"file:{picture}")
    from support.real_model import DEFAULT, features

    own = features(DEFAULT, "random", [picture])[0]
    oracle = nearest_neighbors(rows, own, 5)
    assert [one.path for one in found.neighbors] == [path for path, _ in oracle]
    assert [one.cosine for one in found.neighbors] == pytest.approx(
        [cosine for _, cosine in oracle], abs=1e-4
    )
    assert page(found).count("<img") == 1
    np.testing.assert_array_equal(len(found.content_hash), 64)
