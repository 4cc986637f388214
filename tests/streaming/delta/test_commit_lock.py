"""Tests for `streaming.delta.commit_lock`: a second process waits until the first has released the lock."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from streaming.delta.commit_lock import commit_lock
from streaming.errors import LakeError

HOLD_LOCK = """
import sys
from streaming.delta.commit_lock import commit_lock
with commit_lock(sys.argv[1]):
    print("acquired", flush=True)
    sys.stdin.read(1)
    print("releasing", flush=True)
"""


@pytest.mark.slow
def test_commit_lock_held_by_another_process_is_awaited_until_release_or_death(
    tmp_path: Path,
) -> None:
    table = f"file:{tmp_path}/My lake/refits"
    for killed in (False, True):
        command = [sys.executable, "-c", HOLD_LOCK, table]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as first:
            assert first.stdin
            assert first.stdout
            assert first.stdout.readline() == "acquired\n"
            acquired = threading.Event()

            def acquire(acquired: threading.Event = acquired) -> None:
                with commit_lock(table):
                    acquired.set()

            second = threading.Thread(target=acquire)
            second.start()
            assert not acquired.wait(0.3)
            if killed:
                first.kill()
            else:
                first.stdin.write("x")
                first.stdin.flush()
                assert first.stdout.readline() == "releasing\n"
            assert acquired.wait(30)
            second.join()


def test_commit_lock_does_nothing_on_s3_and_fails_for_an_impossible_folder() -> None:
    with commit_lock("s3a://no-such-bucket/lake/refits"):
        pass
    with pytest.raises(FileNotFoundError), commit_lock("file:/proc/none/lake/refits"):
        pass


def test_lock_is_on_a_regular_file_that_is_open_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def lock(descriptor: int, operation: int) -> None:
        status, flags = os.fstat(descriptor), fcntl.fcntl(descriptor, fcntl.F_GETFL)
        modes.append((stat.S_ISREG(status.st_mode), flags & os.O_ACCMODE))

    monkeypatch.setattr(fcntl, "flock", lock)
    with commit_lock(f"file:{tmp_path}/lake/refits"):
        pass
    assert modes == [(True, os.O_RDWR)]  # NFS keeps other locks on the client


def test_file_system_without_locks_gets_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks")))
    with commit_lock(f"file:{tmp_path}/lake/refits"):
        pass
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "concurrent commits are not prevented" in record.message


def test_link_in_place_of_the_lock_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("")
    (tmp_path / "commit-lock").symlink_to("private")
    with (
        pytest.raises(LakeError, match="was not created by Pomona"),
        commit_lock(f"file:{tmp_path}/refits"),
    ):
        pass
