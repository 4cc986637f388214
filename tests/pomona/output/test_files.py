"""Tests for files that a user names for output: what cannot be written is rejected before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pomona.output.files import check_output_file, output_errors
from streaming.errors import ExternalError, PomonaError, UsageError
from streaming.storage.interface import local_uri


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a lake, a link to it, an image, a link and a FIFO."""
    (tmp_path / "lake" / "features").mkdir(parents=True)
    (tmp_path / "to lake").symlink_to("lake")
    (tmp_path / "a.jpg").write_bytes(b"image")
    (tmp_path / "link.csv").symlink_to("a.jpg")
    os.mkfifo(tmp_path / "fifo.csv")
    return tmp_path


def check(folder: Path, file: str) -> Path:
    """Check a file below the folder, or a URI."""
    path = file if ":/" in file or not file else str(folder / file)
    lake, image = local_uri(str(folder / "lake")), local_uri(str(folder / "a.jpg"))
    return check_output_file(path, lake, "--report", image)


@pytest.mark.parametrize(
    ("file", "kind", "message"),
    [
        ("", UsageError, "--report: give the path of a local file"),
        ("s3://bucket/a.csv", UsageError, "give the path of a local file"),
        ("s3:/bucket/a.csv", UsageError, "give the path of a local file"),
        ("file:/tmp/a.csv", UsageError, "give the path of a local file"),
        ("lake", UsageError, "is a folder: give a file"),
        ("lake/a.csv", UsageError, "lies inside the lake .*: give a file outside of it"),
        ("lake/features/a.csv", UsageError, "lies inside the lake"),
        ("to lake/features/a.csv", UsageError, "lies inside the lake"),
        ("a.jpg", UsageError, "is the image itself: give another file"),
        ("link.csv", ExternalError, "is a link or not a regular file: give another file"),
        ("fifo.csv", ExternalError, "is a link or not a regular file: give another file"),
        ("missing/a.csv", ExternalError, "missing is not a folder: create it"),
        ("a.jpg/a.csv", ExternalError, "a.jpg is not a folder: create it"),
        (f"{'é' * 126}.csv", ExternalError, "its name is longer than 255 bytes: shorten it"),
        (f"{'x' * 256}/a.csv", ExternalError, "File name too long: choose a shorter path"),
    ],
)
def test_unusable_file_is_one_line(
    file: str, kind: type[PomonaError], message: str, folder: Path
) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(kind, match=message) as error:
        check(folder, file)
    assert str(error.value).startswith("--report")
    assert "\n" not in str(error.value)
    assert sorted(folder.rglob("*")) == before
    assert (folder / "a.jpg").read_bytes() == b"image"


@pytest.mark.parametrize("file", ["new.csv", "lake.csv", "lakes/a.csv", f"{'x' * 251}.csv"])
def test_usable_file_is_returned_as_path(file: str, folder: Path) -> None:
    (folder / "lakes").mkdir()
    assert check(folder, file) == folder / file


def test_error_of_writing_has_its_remedy() -> None:
    with (
        pytest.raises(ExternalError, match=r"^a\.csv: Read-only file system: mount the file"),
        output_errors("a.csv"),
    ):
        raise OSError(30, "Read-only file system", "/x/.tmp")
