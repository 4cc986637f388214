"""Tests for `streaming.storage.write_file`: no write follows a link that others have planted."""

from __future__ import annotations

import ast
import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from streaming.errors import LakeError
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease, lease_owner
from streaming.storage.create_if_absent import create_if_absent
from streaming.storage.local import LocalStorage
from streaming.storage.write_file import (
    create_file,
    open_lock_file,
    replace_file,
)

REPOSITORY = Path(__file__).parents[3]
#: Modules that write without `streaming.storage.write_file`: into folders that this process has just created with a
#: random name, into /proc, and the environment archive that a user builds.
OTHER_WRITERS = {
    "streaming/images/resource_limits.py",
    "streaming/ingest/warmup.py",
    "streaming/model/quantize.py",
    "streaming/spark/jars.py",
    "pomona/similarity/vector_cache.py",
    "pomona/queries/export.py",
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim.txt"
    file.write_bytes(b"untouched")
    return file


@pytest.mark.parametrize(
    "write",
    [
        lambda path: LocalStorage().write(f"file:{path}", b"content"),
        lambda path: create_if_absent(f"file:{path}", b"content"),
        lambda path: replace_file(path, b"content"),
    ],
)
def test_link_in_place_of_file_is_not_followed(
    victim: Path, write: Callable[[Path], object]
) -> None:
    path = victim.with_name("link")
    path.symlink_to(victim)
    write(path)
    assert victim.read_bytes() == b"untouched"
    assert not list(victim.parent.glob(".*"))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_is_created_once_on_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", Mock(side_effect=OSError(number, os.strerror(number))))
    path = tmp_path / "tags" / "a.json"
    assert create_if_absent(f"file:{path}", b"first")
    assert not create_if_absent(f"file:{path}", b"second")
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_file_that_could_not_be_written_is_not_left_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, mode: str) -> None:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fdopen", fail)
    with pytest.raises(OSError, match="disk full"):
        create_file(tmp_path / "a.json", b"content")
    assert not list(tmp_path.iterdir())


def test_temporary_file_is_created_and_never_opened(
    victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = victim.with_name("a.json")
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=7))
    planted = victim.with_name(f".{uuid.UUID(int=7).hex}.tmp")
    planted.symlink_to(victim)
    with pytest.raises(FileExistsError):
        replace_file(path, b"content")
    assert victim.read_bytes() == b"untouched"
    assert planted.is_symlink()
    victim.with_name(f".a.json.{os.getpid()}.tmp").symlink_to(
        victim
    )  # the name of earlier versions
    monkeypatch.undo()
    replace_file(path, b"content")
    assert (victim.read_bytes(), path.read_bytes()) == (b"untouched", b"content")


def plant(path: Path, kind: str, victim: Path) -> None:
    """Create an entry in place of a lock file."""
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "dangling link":
        path.symlink_to(victim.with_name("none"))
    elif kind == "hard link":
        path.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "folder"])
@pytest.mark.parametrize("name", ["lease.json", "lease-java"])
def test_planted_lock_file_is_rejected_with_one_line(victim: Path, kind: str, name: str) -> None:
    lake = Lake.at(str(victim.with_name("lake")))
    victim.with_name("lake").mkdir()
    plant(victim.with_name("lake") / name, kind, victim)
    with pytest.raises(LakeError, match=r"not a regular file.*: delete it$"), acquire_lease(lake):
        pass
    assert victim.read_bytes() == b"untouched"
    assert not victim.with_name("none").exists()
    if name == "lease.json":
        with pytest.raises(LakeError, match=r"delete it$"):
            lease_owner(lake)


def test_lock_file_is_created_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_lock_file(tmp_path / "lock", create=False)
    for _ in range(2):
        os.close(open_lock_file(tmp_path / "lock", create=True))


@pytest.mark.parametrize(
    "name",
    [
        "features",
        "tags",
        "reduced",
        "requests/answers",
        "models/m",
        "checkpoints/ingest",
        "checkpoints/ingest/offsets",
        "checkpoints/ingest/sources/0",
        "checkpoints/ingest/offsets/7",
        "checkpoints/ingest/sources/0/1.compact",
        "checkpoints/ingest-arrivals/offsets/7",
        "arrivals",
        "arrivals/7.json",
        "quarantine/_delta_log",
        "features/_change_data",
        "refits/_delta_log/_last_checkpoint",
        "features/_delta_log/00000000000000000007.json",
        "lease.json",
        "lake.json",
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_link_that_leads_out_of_lake_is_rejected(tmp_path: Path, name: str, exists: bool) -> None:
    path = tmp_path / "lake" / name
    path.parent.mkdir(parents=True)
    path.symlink_to("/etc" if exists else "/none/none")
    lake = Lake.at(str(tmp_path / "lake"))
    for check in (lake.validate, lake.ensure_writable_location):
        with pytest.raises(LakeError, match="is a link that leads out of the lake"):
            check()


@pytest.mark.parametrize("name", ["tags", "checkpoints/ingest/offsets/7", "features/_delta_log"])
def test_fifo_in_place_of_file_or_folder_is_rejected(tmp_path: Path, name: str) -> None:
    path = tmp_path / "lake" / name
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    lake = Lake.at(str(tmp_path / "lake"))
    with pytest.raises(LakeError, match=f"{name}: is not a regular file: delete it"):
        lake.ensure_writable_location()


def test_link_to_lake_and_links_within_it_are_permitted(tmp_path: Path) -> None:
    (tmp_path / "real" / "models").mkdir(parents=True)
    (tmp_path / "real" / "features").mkdir()
    (tmp_path / "real" / "tags").symlink_to("models")
    (tmp_path / "link").symlink_to("real")
    Lake.at(str(tmp_path / "link")).ensure_writable_location()


def test_no_other_module_opens_files_for_writing() -> None:
    found = set()
    for package in ("streaming", "batch_pca", "pomona"):
        for file in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and _writes(node):
                    found.add(str(file.relative_to(REPOSITORY)))
    assert found == OTHER_WRITERS


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("write_text", "write_bytes", "touch"):
        return True
    modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return name == "open" and any(set(mode) <= set("wax+bt") and mode for mode in modes)
