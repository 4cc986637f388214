"""Tests for the commands `similar` and `duplicates`: results, HTML page, and error messages; Spark is not started."""

from __future__ import annotations

import hashlib
import html.parser
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pomona.similarity.report import render_report
from pomona.similarity.search import Neighbor, SimilarityResult, similar
from streaming.lake.layout import Lake
from streaming.sources.selection import Selection, write_selection
from streaming.storage.interface import local_path
from support.lakes.deltars_lakes import (
    append,
    create_deltars_lake,
    nearest_neighbors,
    random_images,
    use_cache_folder,
)
from support.lakes.feature_lakes import Images
from support.lakes.small_lakes import jpeg, put
from support.processes.cli import Command, forbid_spark, shown

WIDTH = 24


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    forbid_spark(monkeypatch)
    return use_cache_folder(monkeypatch, tmp_path / "cache")


def image_files(folder: Path, count: int) -> Images:
    """Write image files, and return them with random features."""
    rows = random_images(count, WIDTH)
    paths = []
    for number in range(count):
        file = folder / rows.labels[number] / f"{number}.jpg"
        put(file, jpeg(number))
        paths.append(f"file:{file}")
    return Images(paths, rows.labels, rows.vectors)


def hashes_of(rows: Images) -> list[str]:
    return [hashlib.sha256(local_path(path).read_bytes()).hexdigest() for path in rows.paths]


def create_lake_of_files(folder: Path, source: Path, rows: Images) -> Lake:
    """Create a lake of image files in a source, with their hashes."""
    lake = create_deltars_lake(folder)
    append(lake, rows, hashes_of(rows))
    write_selection(lake.sources, f"file:{source}", Selection())
    return lake


def test_similar_prints_neighbors_and_votes(tmp_path: Path, pomona: Command) -> None:
    rows = image_files(tmp_path / "photos", 60)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    expected = nearest_neighbors(rows, rows.vectors[8], 6)[1:]
    labels = dict(zip(rows.paths, rows.labels, strict=True))
    query = local_path(rows.paths[8])
    answer = pomona("similar", tmp_path / "lake", query, "--top", 5, "--json").json
    assert [one["path"] for one in answer["neighbors"]] == [shown(path) for path, _ in expected]
    assert [one["cosine"] for one in answer["neighbors"]] == pytest.approx(
        [cosine for _, cosine in expected]
    )
    assert [one["label"] for one in answer["neighbors"]] == [labels[path] for path, _ in expected]
    assert (answer["label"], answer["rows"], answer["version"]) == (rows.labels[8], 60, 0)
    assert sum(answer["vote"].values()) == 5
    lines = pomona("similar", lake.root, rows.paths[8], "--top", 5).out.splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith(f"vote: {next(iter(answer['vote'].values()))} ")
    assert lines[-1].endswith(f"(actual label: {rows.labels[8]})")


def test_similar_as_of_searches_that_version(tmp_path: Path) -> None:
    one, two = random_images(30, WIDTH, 1), random_images(30, WIDTH, 2)
    lake = create_deltars_lake(tmp_path / "lake", one, two)
    earlier = similar(lake.root, one.paths[0], 60, "0")
    assert {neighbor.path for neighbor in earlier.neighbors} == set(one.paths[1:])
    assert similar(lake.root, one.paths[0], 60).rows == 60


def test_as_of_prints_the_resolved_version(tmp_path: Path, pomona: Command) -> None:
    rows = random_images(30, WIDTH)
    root = create_deltars_lake(tmp_path / "lake", rows).root
    for arguments in (("similar", root, rows.paths[0]), ("duplicates", root)):
        for as_json in ((), ("--json",)):
            done = pomona(*arguments, "--as-of", "0 seconds ago", *as_json)
            output = done.err if as_json else done.out
            assert output.startswith("as of  0 seconds ago ("), arguments
            assert ") is version 0 of " in output.splitlines()[0]


def test_votes_break_ties_by_similarity() -> None:
    cosines = [("a", 0.9), ("b", 0.8), ("b", 0.7), ("a", 0.5), ("c", 0.4)]
    neighbors = [Neighbor("file:/x", label, "", cosine) for label, cosine in cosines]
    assert SimilarityResult("file:/y", None, "", 0, 5, neighbors).votes == [
        ("b", 2),
        ("a", 2),
        ("c", 1),
    ]


class TagParser(html.parser.HTMLParser):
    """Collect the tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_report_embeds_images_and_loads_nothing(tmp_path: Path, pomona: Command) -> None:
    photos = tmp_path / "<b>&amp; photos"
    rows = image_files(photos, 8)
    create_lake_of_files(tmp_path / "lake", photos, rows)
    local_path(rows.paths[5]).unlink()
    report = tmp_path / "page.html"
    done = pomona("similar", tmp_path / "lake", rows.paths[0], "--top", 7, "--report", report)
    assert f"report: {report}" in done.out
    text = report.read_text()
    tags = TagParser(text).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 7
    assert all(str(one["src"]).startswith("data:image/jpeg;base64,") for one in images)
    assert all(str(one["alt"]).startswith("The image file:/") for one in images)
    assert text.count("no thumbnail: no such file") == 1
    assert {tag for tag, _ in tags} & {"script", "link", "iframe", "b&amp;"} == set()
    assert "default-src 'none'" in text


def test_report_shows_no_thumbnail_of_planted_rows(tmp_path: Path, pomona: Command) -> None:
    photos, private = tmp_path / "photos", tmp_path / "private"
    rows = image_files(photos, 3)
    planted = image_files(private, 2)
    (photos / "link").symlink_to(private)
    linked = replace(
        planted, paths=[one.replace("private", "photos/link") for one in planted.paths]
    )
    lake = create_lake_of_files(tmp_path / "lake", photos, rows)
    append(lake, planted)  # wrong hashes
    append(lake, replace(planted, paths=[f"{path}x" for path in planted.paths]))  # no such files
    append(lake, linked, hashes_of(planted))
    report = tmp_path / "page.html"
    done = pomona("similar", lake.root, rows.paths[0], "--top", 8, "--report", report)
    assert done.status == 0
    text = report.read_text()
    assert text.count("<img") == 3
    assert text.count("no thumbnail: outside of the sources") == 6
    # An image of the lake that has been replaced since.
    put(local_path(rows.paths[1]), jpeg(7))
    put(local_path(rows.paths[0]), jpeg(8))
    pomona("similar", lake.root, rows.paths[0], "--top", 8, "--report", report)
    text = report.read_text()
    assert (text.count("<img"), text.count("no thumbnail: content changed")) == (1, 2)


def test_unwritable_report_is_one_line(tmp_path: Path, pomona: Command) -> None:
    create_deltars_lake(tmp_path / "lake", random_images(3, WIDTH))
    image = tmp_path / "a.jpg"
    image.write_bytes(b"image")
    for file, message in (
        (tmp_path / "no" / "x", "no is not a folder: create it"),
        (image, "is the image itself"),
        (tmp_path / "lake" / "x.html", "lies inside the lake"),
    ):
        done = pomona("similar", tmp_path / "lake", image, "--report", file)
        assert message in done.error_line
    assert image.read_bytes() == b"image"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("similar lake nowhere.jpg", 1, "nowhere.jpg: not an image of version 0 of the lake"),
        ("similar lake .", 1, "and not a readable file"),
        (
            f"similar lake {'x' * 300}.jpg",
            1,
            "and not a readable file (File name too long)",
        ),
        ("similar lake /photos/0/000000.jpg --top 0", 2, "--top 0: give 1 or more"),
        ("similar lake /photos/0/000000.jpg --as-of 7", 1, "no version 7"),
        ("similar lake picture.jpg", 1, "contains no model: give an image of the lake"),
        ("similar nowhere picture.jpg", 1, "nowhere is not a lake"),
        ("similar empty picture.jpg", 1, "has no rows"),
        ("duplicates nowhere", 1, "nowhere is not a lake"),
        ("duplicates lake --at-least 1.5", 2, "--at-least 1.5"),
        ("duplicates lake --top 0", 2, "--top 0"),
        ("duplicates lake --label Kiwis", 2, "--label Kiwis: no such label in version 0"),
        ("duplicates lake --label caf\udce9", 2, r"--label caf\xe9: no such label in version 0"),
        ("export lake new.csv --label caf\udce9", 2, r"--label caf\xe9: no such label"),
    ],
)
def test_error_is_one_line(
    tmp_path: Path,
    pomona: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    status: int,
    message: str,
) -> None:
    rows = random_images(3, WIDTH)
    create_deltars_lake(tmp_path / "lake", rows)
    create_deltars_lake(tmp_path / "empty", Images([], [], rows.vectors[:0]))
    put(tmp_path / "picture.jpg", jpeg())
    monkeypatch.chdir(tmp_path)
    done = pomona(*arguments.split())
    assert done.status == status
    assert message in done.error_line


def test_duplicates_prints_same_bytes_and_near_pairs(tmp_path: Path, pomona: Command) -> None:
    rows = random_images(6, WIDTH)
    rows.vectors[1], rows.vectors[5] = rows.vectors[0], rows.vectors[4] * 2
    lake = create_deltars_lake(tmp_path / "lake")
    append(lake, rows, ["a", "a", "c", "d", "e", "f"])
    answer = pomona("duplicates", lake.root, "--json").json
    images = [[shown(path), label] for path, label in zip(rows.paths, rows.labels, strict=True)]
    assert answer["same_bytes"] == [{"content_hash": "a", "images": images[:2]}]
    assert answer["near"] == [{"cosine": 1.0, "images": [images[4], images[5]]}]
    assert (answer["near_count"], answer["version"]) == (1, 0)
    text = pomona("duplicates", lake.root).out
    assert "identical bytes: 2 images in 1 group" in text
    assert "near-duplicates: 1 pair with a cosine of at least 0.98" in text
    assert {"version", "same_bytes"} == set(
        pomona("duplicates", lake.root, "--same-bytes", "--json").json
    )
    label = rows.labels[4]
    assert pomona("duplicates", lake.root, "--label", label, "--json").json["near"] == []


def test_comparing_many_rows_requires_confirmation(
    tmp_path: Path, pomona: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_images(20, WIDTH)
    lake = create_deltars_lake(tmp_path / "lake", rows)
    monkeypatch.setattr("pomona.similarity.duplicates.MAX_ROWS_WITHOUT_CONFIRMATION", 19)
    done = pomona("duplicates", lake.root)
    assert done.status == 2
    assert "identical bytes: 0 images" in done.out
    assert "comparing all pairs of 20 images would take about 1 s: confirm with --yes" in done.err
    assert set(pomona("duplicates", lake.root, "--json").json) == {"version", "same_bytes"}
    for options in (("--yes",), ("--label", "label 1"), ("--same-bytes",)):
        assert pomona("duplicates", lake.root, *options).status == 0


@pytest.mark.slow
def test_similar_extracts_features_of_an_image_outside_the_lake(
    tmp_path: Path, random_model: Path
) -> None:
    from streaming.model.mobilenet_v2 import WIDTH as NETWORK_WIDTH
    from streaming.model.store import find_model

    model = find_model(f"file:{random_model}")
    assert model
    rows = random_images(5, NETWORK_WIDTH)
    lake = create_deltars_lake(
        tmp_path / "lake", Images(rows.paths, rows.labels, rows.vectors, model.model_id)
    )
    shutil.copytree(random_model, tmp_path / "lake" / "models")
    image = tmp_path / "kiwi.jpg"
    put(image, jpeg(3))
    found = similar(lake.root, str(image), 5)
    assert (found.label, found.rows, found.image) == (None, 5, f"file:{image}")
    from support.lakes.real_model import DEFAULT, features

    query = features(DEFAULT, "random", [image])[0]
    expected = nearest_neighbors(rows, query, 5)
    assert [one.path for one in found.neighbors] == [path for path, _ in expected]
    assert [one.cosine for one in found.neighbors] == pytest.approx(
        [cosine for _, cosine in expected], abs=1e-4
    )
    assert render_report(lake, found).count("<img") == 1
    assert len(found.content_hash) == 64
