"""Tests for `streaming.cache_dir`: the folders of users without a home, with a read-only one, or with `noexec`."""

from __future__ import annotations

import fcntl
import os
import pwd
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from streaming import cache_dir
from streaming.cache_dir import (
    cache_folder,
    executable_folder,
    find_cached,
    private_folder,
    session_folder,
    temporary_folder,
)
from streaming.errors import PlatformError


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home and folder for temporary files below `tmp_path`."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name, variable in (("tmp", "TMPDIR"), ("home", "HOME")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache_dir, "_reported", set())


def forbid_writing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder read-only, for root too."""
    access = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode: not Path(path).is_relative_to(folder) and access(path, mode),
    )


@pytest.mark.parametrize("given", ["", "cache", "./cache", "~/cache"])
def test_relative_xdg_cache_home_is_ignored(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder() == tmp_path / "home" / ".cache" / "pomona"


def test_unwritable_cache_is_replaced_by_private_folder_and_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forbid_writing(monkeypatch, tmp_path / "home")
    private = tmp_path / "tmp" / f"pomona-{os.geteuid()}"
    assert cache_folder() == cache_folder() == private
    assert private.stat().st_mode & 0o777 == 0o700
    (record,) = caplog.records
    assert str(tmp_path / "home" / ".cache" / "pomona") in record.message
    assert "XDG_CACHE_HOME" in record.message


@pytest.mark.parametrize("home", [None, "~nobody-of-this-name", "relative"])
def test_user_without_home_has_private_cache(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_entry(_: object) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    assert cache_folder() == tmp_path / "tmp" / f"pomona-{os.geteuid()}"


def test_file_of_read_only_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = cache_folder() / "jars-1"
    cached.mkdir(parents=True)
    forbid_writing(monkeypatch, tmp_path / "home")
    assert find_cached("jars-1") == cached
    assert find_cached("jars-2") == private_folder() / "jars-2"


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o770])
def test_cache_is_closed_to_other_users(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".cache" / "pomona"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    assert cache_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_file_in_place_of_cache_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "home" / ".cache").write_text("")
    assert cache_folder() == private_folder()


@pytest.mark.parametrize(
    "kind", ["writable by others", "readable by others", "link", "file", "of another user"]
)
def test_private_folder_that_others_control_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp" / f"pomona-{os.geteuid()}"
    if kind == "writable by others":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "readable by others":
        folder.mkdir()
        folder.chmod(0o755)
    elif kind == "link":
        folder.symlink_to(tmp_path)
    elif kind == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        folder.rename(folder.with_name(f"pomona-{owner + 1}"))
    with pytest.raises(PlatformError, match=r"pomona-\d+.*TMPDIR"):
        private_folder()


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[Callable[[], tuple[Popen[str], Path]]]:
    """Return a function that starts another process with a session folder; it runs until the test ends."""
    program = (
        "import sys; from pathlib import Path; from streaming.cache_dir import session_folder\n"
        "print(session_folder(Path(sys.argv[1])), flush=True); input()"
    )
    with ExitStack() as stack:

        def start() -> tuple[Popen[str], Path]:
            command = [sys.executable, "-c", program, str(tmp_path / "sessions")]
            process = stack.enter_context(Popen(command, stdin=PIPE, stdout=PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout
            return process, Path(process.stdout.readline().rstrip("\n"))

        yield start


def test_session_folder_is_private_and_kept_by_process(tmp_path: Path) -> None:
    folder = session_folder(tmp_path / "sessions")
    assert folder.parent == tmp_path / "sessions"
    for path in (folder, folder.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    (folder / "file").touch()
    assert session_folder(tmp_path / "sessions") == folder
    assert (folder / "file").exists()
    assert session_folder(tmp_path / "others") != folder


def test_session_folder_of_killed_process_is_deleted_by_next_one(
    tmp_path: Path, other_process: Callable[[], tuple[Popen[str], Path]]
) -> None:
    (process, killed), (_, running) = other_process(), other_process()
    unrelated = tmp_path / "sessions" / "hs_err_pid1.log"
    unrelated.touch()
    for folder in (killed, running):
        (folder / "blockmgr-1").mkdir()
    process.kill()
    process.wait()
    own = session_folder(tmp_path / "sessions")
    assert set((tmp_path / "sessions").iterdir()) == {running, own, unrelated}
    assert (running / "blockmgr-1").is_dir()


def test_link_in_place_of_session_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "sessions").mkdir()
    link = tmp_path / "sessions" / "session-1"
    link.symlink_to(tmp_path / "precious")
    session_folder(tmp_path / "sessions")
    assert link.is_symlink()
    assert (tmp_path / "precious").is_dir()


def test_session_folders_are_kept_on_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / "sessions" / "session-1").mkdir(parents=True)
    session_folder(tmp_path / "sessions")
    assert (tmp_path / "sessions" / "session-1").is_dir()


def test_missing_tmpdir_is_replaced_by_that_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    assert temporary_folder().is_dir()


def test_no_temporary_folder_is_reported_with_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/missing"])
    with pytest.raises(PlatformError, match="set TMPDIR"):
        temporary_folder()


def test_folder_mounted_noexec_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = tmp_path / "tmp"
    monkeypatch.setattr(cache_dir, "permits_execution", lambda folder: folder != mounted)
    assert executable_folder(mounted, tmp_path / "home") == tmp_path / "home"
    with pytest.raises(PlatformError, match=f"{mounted}: mounted with noexec.*TMPDIR"):
        executable_folder(mounted)


def test_file_system_of_proc_does_not_permit_execution() -> None:
    if not os.statvfs("/proc").f_flag & os.ST_NOEXEC:
        pytest.skip("/proc is not mounted with noexec")
    assert not cache_dir.permits_execution(Path("/proc/missing/folder"))
    assert cache_dir.permits_execution(Path(os.__file__))
