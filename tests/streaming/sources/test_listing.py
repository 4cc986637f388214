"""Tests for `streaming.sources.listing`: what counts as an image, and that stream and listing agree on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.errors import SourceError
from streaming.images.decode import IMAGE_SUFFIXES
from streaming.sources.listing import Source, label_from_path
from streaming.storage.interface import StoredFile

ODD_NAMES = (
    "My fruit/a b.jpg",
    "Crème brûlée/é.PNG",
    "100% ripe/50%.Jpeg",
    "a%20b/%41.gif",
    "a+b/c+d.webp",
    "[x] {a}/[1].tif",
    "{b,c}/*?.jpg",
    "10:30/12:00.jpg",
    "a#b/c?d.jpg",
    "a\\b/c\\d.jpg",
    "in root.jpg",
    "deep/er/and deeper/x.y.z.bmp",
    "a_b/c.d_.JPG",
    "日本/りんご.avif",
    "a=b/c=d.jpg",
    "label.jpg/a.jpg",
    "'quoted'/\"e\".jpg",
)
HIDDEN = (
    ".git/a.jpg",
    "_tmp/b.jpg",
    "Fig/.c.jpg",
    "Fig/_d.jpg",
    "a/_b/c/e.jpg",
    "_day=1/f.jpg",
    ".g.jpg",
)
NO_IMAGES = ("Fig/notes.txt", "Fig/jpg", "Fig/a.jpg.part", "Fig/b.jpg~", "README", "Fig/Thumbs.db")


def fill(root: Path, names: tuple[str, ...], content: bytes = b"12345") -> None:
    """Files of these names."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content + b"." * number)
        os.utime(file, (0, 1_600_000_000 + number))


def names(source: Source) -> set[str]:
    """What a source lists, relative to its root."""
    return {file.path.removeprefix(f"{source.root}/") for file in source.images()}


def test_every_image_below_the_root_is_listed_under_its_own_name(tmp_path: Path) -> None:
    fill(tmp_path, ODD_NAMES)
    assert names(Source.at(str(tmp_path))) == set(ODD_NAMES)


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_suffixes_count_whatever_their_case(tmp_path: Path, change: object) -> None:
    assert callable(change)
    files = tuple(f"{n}.{change(suffix)}" for n, suffix in enumerate(IMAGE_SUFFIXES))
    fill(tmp_path, files)
    assert names(Source.at(str(tmp_path))) == set(files)


def test_other_files_are_passed_over_and_counted_by_the_reason(tmp_path: Path) -> None:
    fill(tmp_path, ("Fig/a.jpg", *HIDDEN, *NO_IMAGES))
    source = Source.at(str(tmp_path))
    for _ in range(2):  # a second listing counts anew
        assert names(source) == {"Fig/a.jpg"}
        assert source.ignored.hidden == len(HIDDEN)
        assert source.ignored.not_an_image_suffix == len(NO_IMAGES)
        assert source.ignored.total == len(HIDDEN) + len(NO_IMAGES)


def test_only_names_below_the_root_hide(tmp_path: Path) -> None:
    root = tmp_path / ".cache" / "_incoming"
    fill(root, ("Fig/a.jpg",))
    assert names(Source.at(str(root))) == {"Fig/a.jpg"}


def test_the_label_is_the_folder_that_an_image_lies_in() -> None:
    assert label_from_path("s3a://bucket/fruits/Apple Red 1/r_12.jpg") == "Apple Red 1"
    assert label_from_path("file:/data/100% ripe/a.jpg") == "100% ripe"
    assert label_from_path("s3a://bucket/a.jpg") == "bucket"


def test_a_source_that_is_not_there_or_a_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    for name, wrong in (("none", "does not exist"), ("a.jpg", "is a file")):
        with pytest.raises(SourceError, match=f"{name} {wrong}: give ") as refused:
            Source.at(str(tmp_path / name)).validate(require_images=False)
        assert "\n" not in str(refused.value)


def test_an_empty_source_is_refused_only_where_images_are_needed_now(tmp_path: Path) -> None:
    fill(tmp_path, NO_IMAGES)
    source = Source.at(str(tmp_path))
    source.validate(require_images=False)
    with pytest.raises(
        SourceError, match=rf"contains no images \({len(NO_IMAGES)} other files\).*jpg"
    ):
        source.validate(require_images=True)
    fill(tmp_path, ("Fig/a.jpg",))
    source.validate(require_images=True)


@pytest.mark.spark
def test_stream_and_listing_agree_on_name_length_and_time(
    spark: SparkSession, tmp_path: Path
) -> None:
    root = tmp_path / "été [x] {a,b} 50% + *"
    fill(root, (*ODD_NAMES, *HIDDEN, *NO_IMAGES))
    beside = root.with_name("été x a 50% + more")  # what the root's name would match as a pattern
    fill(beside, ("Fig/beside.jpg",))
    source = Source.at(str(root))
    query = (
        source.stream(spark, max_files=1000)
        .writeStream.format("memory")
        .queryName("listed")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    streamed = {StoredFile(*row) for row in spark.table("listed").collect()}
    taken = {file for file in streamed if source.is_image(file.path)}
    assert taken == set(source.images())
    assert len(taken) == len(ODD_NAMES)
