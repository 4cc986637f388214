"""Tests for `streaming.storage.local`: entries of a folder that are no regular files, in a listing and in reads."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from streaming.errors import LakeError
from streaming.storage.interface import OutsideFolderError, TransientError, Unlisted
from streaming.storage.local import LocalStorage, lies_inside
from support.faults.failing_listing import fail_listing
from support.faults.unusual_entries import (
    IMAGES,
    UNLISTED,
    UNREADABLE,
    create_unusual_entries,
    unprivileged,
)
from support.processes.inotify_watch import Watch


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder with unusual entries that other users can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        create_unusual_entries(Path(folder, "source"))
        yield Path(folder, "source")


def list_names(root: Path) -> tuple[set[str], dict[str, str]]:
    """Return the names that a listing yields, and those that it does not with their reasons."""
    unlisted: dict[str, str] = {}

    def keep(path: str, reason: Unlisted, detail: str) -> None:
        assert detail
        unlisted[path.removeprefix(f"file:{root}/")] = reason.value

    files = list(LocalStorage().list(f"file:{root}", keep, follow_outside=True))
    assert len(set(files)) == len(files)
    return {file.path.removeprefix(f"file:{root}/") for file in files}, unlisted


def test_list_skips_unusual_entries_and_names_them(root: Path) -> None:
    with unprivileged():
        names, unlisted = list_names(root)
    assert names == IMAGES
    without_image_suffix = {"Fig/queue": "special_file", "Kiwi/to Fig/queue": "special_file"}
    assert unlisted == UNLISTED | UNREADABLE | without_image_suffix


def test_unlisted_entry_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for _ in range(3):
        assert not list(LocalStorage().list(f"file:{tmp_path}"))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_listing_without_callback_fails_if_a_folder_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"1")
    fail_listing(monkeypatch, tmp_path / "log", number)
    with pytest.raises(TransientError, match=re.escape(os.strerror(number))):
        list(LocalStorage().list(f"file:{tmp_path}"))
    assert list_names(tmp_path) == ({"a.jpg"}, {"log": "unreadable"})


def test_listing_without_callback_fails_if_permission_is_denied(root: Path) -> None:
    with unprivileged(), pytest.raises(PermissionError):
        list(LocalStorage().list(f"file:{root}/lost+found"))
    with unprivileged(), pytest.raises(PermissionError):  # of an entry
        list(LocalStorage().list(f"file:{root}/no entry"))


def test_missing_folder_has_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    assert not list(LocalStorage().list(f"file:{tmp_path}/missing"))
    assert not list(LocalStorage().list(f"file:{tmp_path}/file/missing"))


def test_folders_that_link_to_each_other_are_followed_once(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"1")
        (tmp_path / name / "link").symlink_to(f"../{other}")
    names, unlisted = list_names(tmp_path)
    assert names == {"one/a.jpg", "two/a.jpg", "one/link/a.jpg", "two/link/a.jpg"}
    assert unlisted == {"one/link/link": "link_loop", "two/link/link": "link_loop"}


def test_list_of_root_reached_through_link_detects_loop(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(b"1")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "source").symlink_to("real")
    assert list_names(tmp_path / "source") == ({"a.jpg"}, {"up": "link_loop"})


def test_list_continues_while_folders_are_renamed_and_removed(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"kept {number}").mkdir()
        (tmp_path / f"kept {number}" / "a.jpg").write_bytes(b"1")
    stopped = threading.Event()

    def change() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            folder = tmp_path / f"new {number % 7}"
            folder.mkdir()
            (folder / "b.jpg").write_bytes(b"1")
            renamed = folder.rename(tmp_path / f"renamed {number % 5}")
            shutil.rmtree(renamed)

    changes = threading.Thread(target=change)
    changes.start()
    try:
        for _ in range(200):
            names, unlisted = list_names(tmp_path)
            assert {f"kept {number}/a.jpg" for number in range(20)} <= names
            assert not unlisted
    finally:
        stopped.set()
        changes.join()


@pytest.mark.parametrize("entry", ["Fig/fifo.jpg", "Fig/zero.jpg", "Fig/s.jpg", "Fig", "one.jpg"])
def test_read_of_entry_that_is_no_file_neither_blocks_nor_retries(root: Path, entry: str) -> None:
    storage, path = LocalStorage(), f"file:{root}/{entry}"
    for operation in (storage.read, storage.read_once, storage.check_readable):
        with pytest.raises(FileNotFoundError):
            operation(path, None)
    with pytest.raises(FileNotFoundError):
        storage.stat(path)


def test_read_below_a_file_finds_no_file(root: Path) -> None:
    for operation in (LocalStorage().read_once, LocalStorage().stat):
        with pytest.raises(FileNotFoundError):
            operation(f"file:{root}/Fig/a.jpg/b.jpg")


def test_unreadable_file_is_listed_and_its_read_is_denied(root: Path) -> None:
    (root / "Kiwi/a.jpg").chmod(0)
    with unprivileged():
        assert "Kiwi/a.jpg" in list_names(root)[0]
        with pytest.raises(PermissionError):
            LocalStorage().read_once(f"file:{root}/Kiwi/a.jpg")
        with pytest.raises(PermissionError):
            LocalStorage().stat(f"file:{root}/lost+found/c.jpg")


def test_error_of_the_disk_is_transient(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fail)
        with pytest.raises(TransientError, match="Input/output error"):
            LocalStorage().read_once(f"file:{root}/Fig/a.jpg")


def test_folder_lies_inside_another_one_by_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "images").symlink_to("Images")  # as if the file system ignored case
    assert lies_inside(f"{tmp_path}/Images/new/lake", f"{tmp_path}/Images")
    assert lies_inside(f"{tmp_path}/images/new/lake", f"{tmp_path}/Images")
    assert lies_inside(f"{tmp_path}/Images", f"{tmp_path}/images")
    assert lies_inside("/tmp", "/")
    assert not lies_inside(f"{tmp_path}/Images 2", f"{tmp_path}/Images")
    assert not lies_inside(f"{tmp_path}", f"{tmp_path}/Images")
    assert not lies_inside(f"{tmp_path}/Images", f"{tmp_path}/new")


def test_image_of_a_row_exists_only_if_its_name_can_exist(root: Path) -> None:
    exists = LocalStorage().exists
    assert exists(f"file:{root}/Fig/a.jpg")
    assert exists(f"file:{root}/Fig/dangling.jpg")
    assert exists(f"file:{root}/Fig/itself.jpg")
    for name in ("Fig/none.jpg", "Fig/a.jpg/b.jpg", "Fig/itself.jpg/a.jpg", "x" * 300 + ".jpg"):
        assert not exists(f"file:{root}/{name}")
    with unprivileged(), pytest.raises(PermissionError):
        exists(f"file:{root}/lost+found/c.jpg")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_image_that_the_disk_cannot_find_counts_as_existing(
    monkeypatch: pytest.MonkeyPatch, root: Path, number: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", Mock(side_effect=OSError(number, os.strerror(number))))
        assert LocalStorage().exists(f"file:{root}/Fig/a.jpg")


def create_links_out(folder: Path) -> Path:
    """Create a source with links that lead out of it, and links that do not; return its root."""
    root, private = folder / "source", folder / "private"
    for image in (root / "Fig/a.jpg", private / "b.jpg", folder / "source 2/c.jpg"):
        image.parent.mkdir(parents=True)
        image.write_bytes(b"12345")
    for name, target in (
        ("Fig/inside.jpg", "a.jpg"),
        ("Kiwi", "Fig"),
        ("outside.jpg", "../private/b.jpg"),
        ("absolute.jpg", f"{private}/b.jpg"),
        ("folder", "../private"),
        ("around.jpg", "folder/b.jpg"),
        ("twice.jpg", "outside.jpg"),
        ("sibling", "../source 2"),  # its name begins with that of the source
        ("process.jpg", "/proc/self/environ"),
        ("Fig/up and out.jpg", "../../private/../private/b.jpg"),
        ("back.jpg", "../private/../source/Fig/a.jpg"),
    ):
        (root / name).symlink_to(target)
    return root


INSIDE = {"Fig/a.jpg", "Fig/inside.jpg", "Kiwi/a.jpg", "Kiwi/inside.jpg", "back.jpg"}
OUTSIDE = {
    "outside.jpg",
    "absolute.jpg",
    "folder",
    "around.jpg",
    "twice.jpg",
    "sibling",
    "process.jpg",
    "Fig/up and out.jpg",
    "Kiwi/up and out.jpg",
}


@pytest.mark.parametrize("link_to_root", [False, True])
def test_links_out_of_prefix_are_named_and_not_followed(tmp_path: Path, link_to_root: bool) -> None:
    root = create_links_out(tmp_path)
    if link_to_root:
        root = tmp_path / "link"
        root.symlink_to("source")
    unlisted: dict[str, str] = {}
    files = LocalStorage().list(
        f"file:{root}",
        lambda path, reason, detail: unlisted.update({path: reason.value}),
        follow_outside=False,
    )
    assert {file.path.removeprefix(f"file:{root}/") for file in files} == INSIDE
    assert unlisted == {f"file:{root}/{name}": "outside_link" for name in OUTSIDE}


def test_read_within_folder_rejects_links_that_lead_out_of_it(tmp_path: Path) -> None:
    root = create_links_out(tmp_path)
    storage, within = LocalStorage(), f"file:{root}"
    for name in INSIDE:
        assert storage.read_once(f"file:{root}/{name}", within) == b"12345"
    for name in (OUTSIDE - {"folder", "sibling"}) | {"folder/b.jpg", "sibling/c.jpg"}:
        assert storage.read_once(f"file:{root}/{name}")
        with pytest.raises(FileNotFoundError, match=f"a link leads out of {within}"):
            storage.read_once(f"file:{root}/{name}", within)
        for operation in (storage.read, storage.check_readable):
            with pytest.raises(LakeError, match=f"leads out of {within}: replace it"):
                operation(f"file:{root}/{name}", within)


def test_file_outside_of_folder_is_not_opened(tmp_path: Path) -> None:
    root = create_links_out(tmp_path)
    watch = Watch(tmp_path / "private", "open")
    for name in ("folder/b.jpg", "Fig/up and out.jpg"):
        with pytest.raises(OutsideFolderError):
            LocalStorage().read_once(f"file:{root}/{name}", f"file:{root}")
    assert not watch.pending()
    LocalStorage().read_once(f"file:{root}/folder/b.jpg")
    assert watch.pending()
    watch.close()


def test_listing_of_subfolder_lists_links_within_the_given_folder(tmp_path: Path) -> None:
    root = create_links_out(tmp_path)
    (root / "sub").mkdir()
    (root / "sub" / "inside.jpg").symlink_to("../Fig/a.jpg")
    (root / "sub" / "outside.jpg").symlink_to("../../private/b.jpg")
    prefix = f"file:{root}/sub"
    listed = LocalStorage().list(prefix, within=f"file:{root}")
    assert [file.path for file in listed] == [f"{prefix}/inside.jpg"]
    (root / "out").symlink_to(tmp_path / "private")
    assert not list(LocalStorage().list(f"file:{root}/out", within=f"file:{root}"))
    assert list(LocalStorage().list(f"file:{root}/out"))


def test_file_exchanged_for_link_while_it_is_read_is_not_disclosed(tmp_path: Path) -> None:
    root = create_links_out(tmp_path)
    image, stopped = root / "Fig" / "a.jpg", threading.Event()
    (tmp_path / "private" / "b.jpg").write_bytes(b"secret")

    def exchange() -> None:
        while not stopped.is_set():
            (root / "new").symlink_to("../private/b.jpg")
            os.replace(root / "new", image)
            (root / "new").write_bytes(b"12345")
            os.replace(root / "new", image)

    exchanging = threading.Thread(target=exchange)
    exchanging.start()
    found = set()
    try:
        for _ in range(3000):
            try:
                found.add(LocalStorage().read_once(f"file:{image}", f"file:{root}"))
            except FileNotFoundError:
                found.add(b"rejected")
    finally:
        stopped.set()
        exchanging.join()
    assert found == {b"12345", b"rejected"}


def test_folders_directly_below_prefix_are_listed(tmp_path: Path) -> None:
    (tmp_path / "x/y/z").mkdir(parents=True)
    (tmp_path / "x/My folder").mkdir()
    (tmp_path / "x/file.jpg").write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "x/link").symlink_to(tmp_path / "x/y/z")
    (tmp_path / "x/outside").symlink_to(tmp_path / "elsewhere")
    found = sorted(LocalStorage().list_folders(f"file:{tmp_path}/x"))
    assert found == ["My folder", "link", "y"]
    assert list(LocalStorage().list_folders(f"file:{tmp_path}/nothing")) == []
