"""Tests for `streaming.sources.listing`: selection of images, validation, and agreement of stream and listing."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import boto3
import pytest
from pyspark.sql import SparkSession

from streaming.errors import SourceError
from streaming.images.decode import IMAGE_SUFFIXES
from streaming.sources.listing import ListingCounts, Source, label_from_path
from streaming.sources.selection import Selection
from streaming.storage.interface import StoredFile
from support.faults.unusual_entries import IMAGES, UNLISTED, create_unusual_entries, unprivileged

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
OTHER_FILES = (
    "Fig/notes.txt",
    "Fig/jpg",
    "Fig/a.jpg.part",
    "Fig/b.jpg~",
    "README",
    "Fig/DSC_0001.NEF",
    "Fig/DSC_0002.nef",
    "Fig/number.of characters in the suffix",
)
SUFFIXES = {".txt": 1, "no suffix": 3, ".part": 1, ".jpg~": 1, ".nef": 2}
EXCLUDED = ("Fig/Thumbs.db", "Fig/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/Fig/a.jpg")


def write_files(root: Path, names: tuple[str, ...], content: bytes = b"12345") -> None:
    """Write files with these names and different lengths and times."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content + b"." * number)
        os.utime(file, (0, 1_600_000_000 + number))


def listed_names(source: Source) -> set[str]:
    """Return the paths that a source lists, relative to its root."""
    return {file.path.removeprefix(f"{source.root}/") for file in source.images()}


def test_images_with_unusual_names_are_listed(tmp_path: Path) -> None:
    write_files(tmp_path, ODD_NAMES)
    assert listed_names(Source.at(str(tmp_path))) == set(ODD_NAMES)


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_suffixes_are_case_insensitive(tmp_path: Path, change: object) -> None:
    assert callable(change)
    files = tuple(f"{n}.{change(suffix)}" for n, suffix in enumerate(IMAGE_SUFFIXES))
    write_files(tmp_path, files)
    assert listed_names(Source.at(str(tmp_path))) == set(files)


def test_other_files_are_ignored_and_counted_by_reason(tmp_path: Path) -> None:
    write_files(tmp_path, ("Fig/a.jpg", *HIDDEN, *EXCLUDED, *OTHER_FILES))
    source = Source.at(str(tmp_path))
    for _ in range(2):  # a second listing resets the counts
        assert listed_names(source) == {"Fig/a.jpg"}
        assert source.counts == ListingCounts(len(HIDDEN), len(EXCLUDED), Counter(SUFFIXES))
        assert source.counts.ignored == len(HIDDEN) + len(EXCLUDED) + len(OTHER_FILES)
    assert source.counts.describe() == [
        "8 files ignored, no image suffix: 3 no suffix, 2 .nef, 1 .jpg~, 1 .part, 1 .txt",
        "7 files ignored, hidden: a name begins with _ or .",
        "3 files ignored, excluded by a pattern",
    ]


def test_number_of_counted_suffixes_is_limited(tmp_path: Path) -> None:
    write_files(tmp_path, tuple(f"data.{number:04}" for number in range(1010)), b"")
    source = Source.at(str(tmp_path))
    assert listed_names(source) == set()
    assert len(source.counts.suffixes) == 1001
    assert source.counts.suffixes["other"] == 10
    assert source.counts.describe()[0].count(",") < 15


def test_unlisted_entries_are_counted_and_named_up_to_a_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_unusual_entries(tmp_path / "source")
    source = Source.at(str(tmp_path / "source"), Selection(follow_links=True))
    for _ in range(2):  # a second listing does not repeat the warnings
        names = listed_names(source)
        assert names == IMAGES | {"lost+found/c.jpg", "no entry/c.jpg"}  # readable: no other user
        assert source.counts.unlisted == Counter(UNLISTED.values())
        assert source.counts.suffixes == {"no suffix": 2}  # FIFOs
    assert len(caplog.messages) == len(UNLISTED)
    assert f"{source.root}/Fig/fifo.jpg is not listed (special_file): is not a regular file" in (
        caplog.messages
    )
    for number in range(100):
        (tmp_path / "source" / f"{number}.jpg").symlink_to("nothing")
    listed_names(source)
    assert source.counts.unlisted.total() == len(UNLISTED) + 100
    assert len(caplog.messages) == 21
    assert (
        caplog.messages[-1]
        == f"more entries of {source.root} are not listed: the summary counts them"
    )


def test_links_out_of_source_are_counted_and_named(tmp_path: Path) -> None:
    write_files(tmp_path, ("source/Fig/a.jpg", "private/b.jpg"))
    names = [tmp_path / "source" / name for name in ("Fig/b.jpg", "c", "Fig/.hidden.jpg")]
    for name, target in zip(names, ("b.jpg", "", "b.jpg"), strict=True):
        name.symlink_to(tmp_path / "private" / target)
    source = Source.at(str(tmp_path / "source"))
    assert listed_names(source) == {"Fig/a.jpg"}
    assert source.counts.as_json()["unlisted"] == {"outside_link": 2}
    links = source.counts.as_json()["outside_links"]
    assert sorted(links) == [f"file:{name}" for name in names[:2]]
    assert source.counts.describe()[-1] == (
        f"2 links out of the source not followed: {', '.join(links)} (--follow-links follows them)"
    )
    followed = Source.at(str(tmp_path / "source"), Selection(follow_links=True))
    assert listed_names(followed) == {"Fig/a.jpg", "Fig/b.jpg", "c/b.jpg"}
    assert not followed.counts.outside_links


def test_entries_in_hidden_and_excluded_folders_cause_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(tmp_path, ("Fig/a.jpg", ".hidden/a.jpg", "@eaDir/a.jpg", "lost/a.jpg"))
    for folder in (".hidden", "@eaDir", "lost"):
        (tmp_path / folder / "up").symlink_to("..")
    source = Source.at(str(tmp_path), Selection(exclude=["/lost/"]))
    assert listed_names(source) == {"Fig/a.jpg"}
    assert not caplog.messages
    assert not source.counts.unlisted


def test_root_that_cannot_be_listed_is_rejected(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        create_unusual_entries(Path(folder))
        Path(folder).chmod(0o755)
        with unprivileged(), pytest.raises(SourceError, match=r"lost\+found cannot be listed"):
            Source.at(f"{folder}/lost+found").validate(require_images=False)


def test_hidden_folders_above_root_have_no_effect(tmp_path: Path) -> None:
    root = tmp_path / ".cache" / "_incoming"
    write_files(root, ("Fig/a.jpg",))
    assert listed_names(Source.at(str(root))) == {"Fig/a.jpg"}


def test_label_is_name_of_parent_folder() -> None:
    assert label_from_path("s3a://bucket/fruits/Apple Red 1/r_12.jpg") == "Apple Red 1"
    assert label_from_path("file:/data/100% ripe/a.jpg") == "100% ripe"
    assert label_from_path("s3a://bucket/a.jpg") == "bucket"
    assert label_from_path("s3a://bucket/Fig//a.jpg") == "Fig"
    assert label_from_path("s3a://bucket//a.jpg") == "bucket"


def test_missing_source_and_file_are_rejected_with_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    for name, problem in (("none", "does not exist"), ("a.jpg", "is a file")):
        with pytest.raises(SourceError, match=f"{name} {problem}: give ") as caught:
            Source.at(str(tmp_path / name)).validate(require_images=False)
        assert "\n" not in str(caught.value)


def test_empty_source_is_rejected_only_if_images_are_required(tmp_path: Path) -> None:
    write_files(tmp_path, OTHER_FILES)
    source = Source.at(str(tmp_path))
    source.validate(require_images=False)
    with pytest.raises(
        SourceError, match=rf"contains no images \({len(OTHER_FILES)} files ignored.*jpg"
    ):
        source.validate(require_images=True)
    write_files(tmp_path, ("Fig/a.jpg",))
    source.validate(require_images=True)


@pytest.mark.parametrize(
    ("root", "problem"),
    [
        ("/data/caf\udce9/fruits", "not valid UTF-8"),
        ("/data/10:30 [a]", "a colon and one of"),
        ("s3://bucket//fruits", "an empty part"),
        ("s3://bucket/a/./b", "a part of dots"),
    ],
)
def test_source_that_spark_cannot_list_is_rejected(root: str, problem: str) -> None:
    with pytest.raises(SourceError, match=problem):
        Source.at(root).validate(require_images=False)


@pytest.mark.s3
def test_key_that_xml_cannot_represent_is_listed_and_named(bucket: str) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="fruits/Fig/a\tb.jpg", Body=b"1")
    source = Source.at(f"s3://{bucket}/fruits")
    assert listed_names(source) == {"Fig/a\tb.jpg"}
    assert source.counts.not_in_xml == ""
    client.put_object(Bucket=bucket, Key="fruits/Fig/\x01.jpg", Body=b"1")
    assert listed_names(source) == {"Fig/a\tb.jpg", "Fig/\x01.jpg"}
    assert source.counts.not_in_xml == f"s3a://{bucket}/fruits/Fig/\x01.jpg"


@pytest.mark.spark
def test_stream_and_listing_have_same_names_lengths_and_times(
    spark: SparkSession, tmp_path: Path
) -> None:
    root = tmp_path / "été [x] {a,b} 50% + *"
    create_unusual_entries(root)
    write_files(root, (*ODD_NAMES, *HIDDEN, *EXCLUDED, *OTHER_FILES))
    sibling = root.with_name("été x a 50% + more")  # matches the root's name as a glob pattern
    write_files(sibling, ("Fig/sibling.jpg",))
    source = Source.at(str(root))  # links out of it are not followed
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
    images = {file for file in streamed if source.is_image(file.path)}
    assert images == set(source.images())
    inside = [name for name in IMAGES if not name.startswith(("linked/", "again/"))]
    assert len(images) == len(ODD_NAMES) + len(inside) + 2
    # The patterns are applied to the stream's files in Python.
    beyond = {file.path.removeprefix(f"{source.root}/") for file in streamed - images}
    assert {path.replace("Kiwi/to Fig/", "Fig/") for path in beyond} <= {*HIDDEN, *EXCLUDED}
