"""Tests for `streaming.storage.folder_changes`: new files are found, and unchanged folders are not listed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from streaming.storage import folder_changes
from streaming.storage.folder_changes import TIME_RESOLUTION, FolderChanges
from streaming.storage.interface import local_uri
from streaming.storage.local import LocalStorage
from support.lakes.small_lakes import put


class Watched:
    """A folder, and what was found in it."""

    def __init__(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, *, outside: bool = False
    ) -> None:
        self.root, self.now = root, 1000.0
        self.listed: list[str] = []
        self.changes = FolderChanges(
            local_uri(str(root)), follow_outside=outside, clock=lambda: self.now
        )
        scan: Callable[[str], object] = os.scandir

        def scandir(path: str) -> object:
            self.listed.append(path)
            return scan(path)

        monkeypatch.setattr("streaming.storage.local.os.scandir", scandir)

    def put(self, *names: str) -> None:
        for name in names:
            put(self.root / name, b"1")

    def all(self) -> list[str]:
        return self._names(self.changes.list_all())

    def new(self) -> list[str]:
        self.listed.clear()
        return self._names(self.changes.list_new())

    def settle(self) -> None:
        """Let the time pass after which changed folders are listed once more, and list them."""
        self.now += TIME_RESOLUTION
        assert self.new() == []

    def _names(self, found: object) -> list[str]:
        prefix = f"{local_uri(str(self.root))}/"
        return sorted(file.path.removeprefix(prefix) for file in found)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched(tmp_path / "images", monkeypatch)
    watched.put("a.jpg", "Fig/b.jpg", "Fig/inner/c.jpg", "Kiwi/d.jpg")
    assert watched.all() == ["Fig/b.jpg", "Fig/inner/c.jpg", "Kiwi/d.jpg", "a.jpg"]
    watched.settle()
    return watched


def test_unchanged_folders_are_not_listed(watched: Watched) -> None:
    assert watched.new() == []
    assert watched.listed == []


def test_only_changed_folder_is_listed(watched: Watched) -> None:
    watched.put("Fig/new.jpg")
    assert watched.new() == ["Fig/new.jpg"]
    assert watched.listed == [str(watched.root / "Fig")]
    assert watched.new() == []


def test_new_folders_are_found_with_their_content(watched: Watched) -> None:
    watched.put("Plum/deep/er/e.jpg", "Plum/f.jpg")
    assert watched.new() == ["Plum/deep/er/e.jpg", "Plum/f.jpg"]
    watched.put("Plum/deep/er/g.jpg")
    assert watched.new() == ["Plum/deep/er/g.jpg"]


def test_folder_whose_times_did_not_change_is_listed_once_more(watched: Watched) -> None:
    """A second change within the resolution of the times leaves no trace in them."""
    watched.put("Fig/new.jpg")
    assert watched.new() == ["Fig/new.jpg"]
    folder = watched.changes._folders[str(watched.root / "Fig")]
    watched.put("Fig/hidden change.jpg")
    folder.stamp = folder_changes._stamp(folder.folder.path)
    watched.now += TIME_RESOLUTION / 2
    assert watched.new() == []
    watched.now += TIME_RESOLUTION / 2
    assert watched.new() == ["Fig/hidden change.jpg"]
    watched.now += 100
    assert watched.new() == []
    assert watched.listed == []


@pytest.mark.parametrize("seconds", [-1_000_000, 0, 1_000_000])
def test_modification_time_that_was_set_hides_no_file(watched: Watched, seconds: int) -> None:
    folder = watched.root / "Fig"
    before = folder.stat()
    watched.put("Fig/new.jpg")
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns + seconds * 10**9))
    assert watched.new() == ["Fig/new.jpg"]
    watched.settle()
    assert watched.new() == []
    assert watched.listed == []  # a time in the future does not make it listed for ever


def test_replaced_file_is_left_to_the_sweep(watched: Watched) -> None:
    put(watched.root.parent / "other", b"22")
    (watched.root.parent / "other").rename(watched.root / "Fig" / "b.jpg")
    assert watched.new() == []


def test_file_that_returns_is_new(watched: Watched) -> None:
    file = watched.root / "Fig" / "b.jpg"
    file.unlink()
    assert watched.new() == []
    watched.put("Fig/b.jpg")
    assert watched.new() == ["Fig/b.jpg"]


def test_renamed_folder_is_new(watched: Watched) -> None:
    (watched.root / "Fig").rename(watched.root / "Plum")
    assert watched.new() == ["Plum/b.jpg", "Plum/inner/c.jpg"]
    (watched.root / "Plum").rename(watched.root / "Fig")
    assert watched.new() == ["Fig/b.jpg", "Fig/inner/c.jpg"]


def test_folder_that_replaced_another_one_is_new(watched: Watched) -> None:
    shutil.copytree(watched.root / "Fig", watched.root.parent / "copy")
    shutil.rmtree(watched.root / "Fig")
    (watched.root.parent / "copy").rename(watched.root / "Fig")
    assert watched.new() == ["Fig/b.jpg", "Fig/inner/c.jpg"]


def test_source_that_vanishes_for_a_while_is_watched_again(watched: Watched) -> None:
    aside = watched.root.with_name("aside")
    watched.root.rename(aside)
    assert watched.new() == []
    put(aside / "Fig" / "meanwhile.jpg", b"1")
    aside.rename(watched.root)
    assert watched.new() == ["Fig/meanwhile.jpg"]
    watched.put("Kiwi/later.jpg")
    assert watched.new() == ["Kiwi/later.jpg"]


def test_source_whose_mount_point_is_empty_for_a_while_is_watched_again(watched: Watched) -> None:
    aside = watched.root.with_name("aside")
    watched.root.rename(aside)
    watched.root.mkdir()
    assert watched.new() == []
    watched.root.rmdir()
    aside.rename(watched.root)
    assert watched.new() == ["Fig/b.jpg", "Fig/inner/c.jpg", "Kiwi/d.jpg", "a.jpg"]


def test_source_that_is_created_later_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "later", monkeypatch)
    assert watched.all() == watched.new() == []
    watched.put("a.jpg", "Fig/b.jpg")
    assert watched.new() == ["Fig/b.jpg", "a.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads all folders")
def test_folder_that_becomes_readable_is_listed(watched: Watched) -> None:
    watched.put("Closed/e.jpg")
    (watched.root / "Closed").chmod(0)
    assert watched.new() == watched.new() == []
    (watched.root / "Closed").chmod(0o700)
    assert watched.new() == ["Closed/e.jpg"]


def test_folder_that_failed_is_listed_until_it_succeeds(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.put("Fig/new.jpg")
    with monkeypatch.context() as patch:
        patch.setattr("streaming.storage.local.os.scandir", _fail)
        assert watched.new() == watched.new() == []
    assert watched.new() == ["Fig/new.jpg"]


def _fail(_: str) -> object:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("outside", [False, True])
def test_links_are_followed_as_in_a_full_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: bool
) -> None:
    watched = Watched(tmp_path / "images", monkeypatch, outside=outside)
    watched.put("Fig/a.jpg")
    assert watched.all() == ["Fig/a.jpg"]
    put(tmp_path / "private" / "b.jpg", b"1")
    (watched.root / "Fig" / "loop").symlink_to(watched.root)
    (watched.root / "link.jpg").symlink_to("Fig/a.jpg")
    (watched.root / "again").symlink_to("Fig")
    (watched.root / "out").symlink_to(tmp_path / "private")
    (watched.root / "out.jpg").symlink_to(tmp_path / "private" / "b.jpg")
    expected = ["again/a.jpg", "link.jpg", *(["out.jpg", "out/b.jpg"] if outside else [])]
    assert watched.new() == expected
    listing = LocalStorage().list(local_uri(str(watched.root)), follow_outside=outside)
    assert sorted([*expected, "Fig/a.jpg"]) == watched._names(listing)
    watched.put("Fig/c.jpg")
    assert watched.new() == ["Fig/c.jpg", "again/c.jpg"]


def test_random_changes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After random creations, renames and deletions, each file of a full listing has been found."""
    chance = random.Random(3)
    watched = Watched(tmp_path / "images", monkeypatch)
    watched.root.mkdir()
    found = set(watched.all())
    for number in range(300):
        folders = [watched.root, *(path for path in watched.root.rglob("*") if path.is_dir())]
        folder, other = chance.choice(folders), chance.choice(folders)
        action = chance.random()
        if action < 0.6:
            put(folder / f"{number}.jpg", b"1")
        elif action < 0.75:
            (folder / f"folder {number}").mkdir()
        elif action < 0.85 and folder != watched.root and not other.is_relative_to(folder):
            folder.rename(other / f"moved {number}")
        elif action < 0.9 and folder != watched.root:
            shutil.rmtree(folder)
        if chance.random() < 0.3:
            found |= set(watched.new())
    found |= set(watched.new())
    assert set(watched._names(LocalStorage().list(local_uri(str(watched.root))))) <= found
