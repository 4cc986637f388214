"""Tests for `streaming.sources.selection`: rules of the glob patterns, and the patterns stored in a lake."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from streaming.errors import LakeError, UsageError
from streaming.sources.listing import Source
from streaming.sources.selection import (
    DEFAULT_EXCLUDES,
    Selection,
    read_selection,
    read_sources,
    write_selection,
)
from streaming.storage.s3_client import s3_client


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*.gif", ("a.gif", "x/y/A.GIF", "a.gif/b.jpg"), ("a.gif.jpg", "gif")),
        (
            "thumbs",
            ("thumbs", "thumbs/a.jpg", "x/Thumbs/y/a.jpg"),
            ("thumbs.jpg", "my thumbs/a.jpg"),
        ),
        ("thumbs/", ("thumbs/a.jpg", "x/thumbs/a.jpg"), ("thumbs", "x/thumbs")),
        ("/thumbs", ("thumbs/a.jpg", "thumbs"), ("x/thumbs/a.jpg",)),
        ("x/*.jpg", ("x/a.jpg", "x/b.jpg/c"), ("a.jpg", "y/x/a.jpg", "x/y/a.jpg")),
        ("x/*/a.jpg", ("x/y/a.jpg",), ("x/a.jpg", "x/y/z/a.jpg")),
        ("x/**/a.jpg", ("x/a.jpg", "x/y/a.jpg", "x/y/z/a.jpg"), ("y/a.jpg",)),
        ("**/x/a.jpg", ("x/a.jpg", "y/x/a.jpg"), ("x/y/a.jpg", "yx/a.jpg")),
        ("x/**", ("x/a", "x/y/a"), ("x", "y/x/a")),
        ("**", ("a", "x/a"), ()),
        ("img_?.jpg", ("img_1.jpg", "img_é.jpg"), ("img_.jpg", "img_10.jpg", "img_/.jpg")),
        ("[a-c].jpg", ("b.jpg", "B.jpg"), ("d.jpg", "-.jpg")),
        ("[!a-c].jpg", ("d.jpg",), ("b.jpg", "x/b.jpg")),
        ("a[!b]c", ("axc",), ("a/c", "abc")),
        ("[]]", ("]",), ("[",)),
        ("[*]", ("*",), ("a",)),
        ("a[b", ("a[b",), ("ab",)),
        ("a+(b).jpg", ("a+(b).jpg",), ("aab.jpg",)),
        ("a\\b", ("a\\b",), ("ab",)),
        ("Cr\u00e8me*", ("Cre\u0300me bru\u0302le\u0301e/a.jpg", "CR\u00c8ME"), ("Creme",)),
        ("line\nbreak", ("line\nbreak",), ("line",)),
        ("*break", ("line\nbreak",), ()),
    ],
)
def test_pattern_matches_names_and_paths(
    pattern: str, matching: tuple[str, ...], others: tuple[str, ...]
) -> None:
    exclude = Selection(exclude=[pattern], default_excludes=False)
    include = Selection(include=[pattern], default_excludes=False)
    for path in matching:
        assert exclude.excludes(path), path
        assert not include.excludes(path), path
    for path in others:
        assert not exclude.excludes(path), path
        assert include.excludes(path), path


def test_patterns_match_like_pathlib_in_a_folder(tmp_path: Path) -> None:
    names = ("a", "b.jpg", "ab.gif")
    files = [
        "/".join(parts) for depth in (1, 2, 3) for parts in itertools.product(names, repeat=depth)
    ]
    for number, file in enumerate(files):
        folder = tmp_path / f"{number}" / os.path.dirname(file)
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{number}" / file).write_bytes(b"")
    for pattern in ("*.jpg", "a/*", "a/**/b.jpg", "*/*.gif", "?b*/a", "**/a/[ab]*", "[!a]*/*"):
        selection = Selection(exclude=[f"/{pattern}"], default_excludes=False)
        for number, file in enumerate(files):
            root = tmp_path / str(number)
            found = {path.relative_to(root).as_posix() for path in root.glob(pattern)}
            expected = any(file == path or file.startswith(f"{path}/") for path in found)
            assert selection.excludes(file) == expected, (pattern, file)


def test_exclude_takes_precedence_over_include() -> None:
    selection = Selection(include=["Apple*", "*.png"], exclude=["*.gif"])
    paths = ("Apple 1/a.jpg", "Apple 1/a.gif", "Fig/a.jpg", "Fig/a.png", "Apple 1/@eaDir/a.jpg")
    assert [selection.excludes(path) for path in paths] == [False, True, True, False, True]


@pytest.mark.parametrize("name", [*DEFAULT_EXCLUDES, "THUMBS.DB", "$Recycle.Bin", "x.lrdata"])
def test_default_excludes_apply_at_any_depth_until_switched_off(name: str) -> None:
    for path in (name, f"{name}/a.jpg", f"Fig/{name}/b/a.jpg"):
        assert Selection().excludes(path)
        assert not Selection(default_excludes=False).excludes(path)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "is empty"),
        ("//", "is empty"),
        ("s3://bucket/Fig", "is a location: give a pattern relative to SOURCE"),
        ("../Fig", r"has a part \. or \.\."),
        ("./Fig", r"has a part \. or \.\."),
        ("[z-a].jpg", "is not a glob pattern"),
    ],
)
def test_pattern_that_cannot_match_is_rejected(pattern: str, problem: str) -> None:
    for option in ("include", "exclude"):
        with pytest.raises(UsageError, match=f"--{option} .*{problem}") as caught:
            Selection(**{option: [pattern]})  # type: ignore[arg-type]
        assert repr(pattern) in str(caught.value)


def test_single_string_instead_of_list_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"include='\*.jpg': give a list of strings"):
        Selection(include="*.jpg")


def test_pattern_with_the_path_of_the_source_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--exclude .*/Fig' begins with the path of the source"):
        Source.at(str(tmp_path), Selection(exclude=[f"{tmp_path}/Fig"]))


def test_selection_is_stored_for_each_source(tmp_path: Path) -> None:
    path = f"file:{tmp_path}/sources.json"
    write_selection(path, "file:/zero", Selection())
    one, two = Selection(include=["a*"]), Selection(exclude=["b"], default_excludes=False)
    write_selection(path, "file:/one", one)
    write_selection(path, "s3a://bucket/two", two)
    assert read_selection(path, "file:/one") == one
    assert read_selection(path, "s3a://bucket/two") == two
    assert read_selection(path, "file:/three") == Selection()
    write_selection(path, "file:/one", Selection())
    assert read_selection(path, "file:/one") == Selection()
    assert read_selection(path, "s3a://bucket/two") == two
    assert list(read_sources(path)) == ["file:/zero", "file:/one", "s3a://bucket/two"]


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"file:/one": {"include": 3}}', '{"file:/one": 1}']
)
def test_damaged_file_is_reported_with_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "sources.json").write_text(content)
    with pytest.raises(LakeError, match=r"sources\.json: broken \(.*\): delete it"):
        read_selection(f"file:{tmp_path}/sources.json", "file:/one")


@pytest.mark.s3
def test_folder_and_prefix_with_same_names_list_and_count_the_same(
    tmp_path: Path, bucket: str
) -> None:
    names = (
        "Fig/a.jpg",
        "Fig/a.GIF",
        "Fig/@eaDir/a.jpg/thumb.jpg",
        "Fig/thumbs.db",
        "Fig/.hidden.jpg",
        "_tmp/a.jpg",
        "Fig/raw.CR2",
        "Crème brûlée/[1].png",
        "train/Kiwi/a.jpg",
        "train/Kiwi/drafts/b.jpg",
        "README",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
        s3_client().put_object(Bucket=bucket, Key=f"fruits/{name}", Body=b"1")
    for selection, expected in (
        (Selection(), 5),
        (Selection(exclude=["*.gif", "train/**/drafts/"]), 3),
        (Selection(include=["/train", "[[]*"]), 3),
        (Selection(default_excludes=False), 6),
    ):
        folder, prefix = (
            Source.at(location, selection) for location in (str(tmp_path), f"s3://{bucket}/fruits")
        )
        listed = [
            {file.path.removeprefix(source.root) for file in source.images()}
            for source in (folder, prefix)
        ]
        assert listed[0] == listed[1]
        assert len(listed[0]) == expected
        assert folder.counts == prefix.counts
        assert expected + folder.counts.ignored == len(names)
