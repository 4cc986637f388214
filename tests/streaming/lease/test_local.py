"""Tests for `streaming.lease.local`: a process keeps the lock while it lives, even if it is paused."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.errors import LeaseError
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease, lease_owner
from streaming.lease.holder import Holder
from support.faults.small_disk import small_disk

ACQUIRE_LEASE = """
import sys
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease
with acquire_lease(Lake.at(sys.argv[1])) as lease:
    print(lease.holder.since, flush=True)
    sys.stdin.read()
"""
LOCK_LIKE_JAVA = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "My lake"))


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program with pipes for its standard input and output."""
    command = [sys.executable, "-c", program, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


@pytest.fixture
def other(lake: Lake) -> Iterator[subprocess.Popen[str]]:
    """Another process, which owns the lease."""
    with start(ACQUIRE_LEASE, lake.root) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_second_process_gets_error_with_owner_that_runs_or_is_paused(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    since = other.stdout.readline().strip()  # type: ignore[union-attr]
    owner = f"process {other.pid} on {socket.gethostname()} since {since}"
    for _ in range(2):
        with pytest.raises(LeaseError) as error, acquire_lease(lake):
            pass
        assert str(error.value) == (
            f"{lake.root} is being written by {owner}: wait until it has ended, or stop it with "
            f"`pomona stop {lake.root}`"
        )
        assert str(lease_owner(lake)) == owner
        os.kill(other.pid, signal.SIGSTOP)


def test_lease_of_killed_process_is_free_at_once(lake: Lake, other: subprocess.Popen[str]) -> None:
    assert other.stdout.readline()  # type: ignore[union-attr]
    other.kill()
    other.wait()
    assert lease_owner(lake) is None
    with acquire_lease(lake):
        assert lease_owner(lake).pid == os.getpid()  # type: ignore[union-attr]


def test_released_lease_leaves_no_files(lake: Lake, tmp_path: Path) -> None:
    for _ in range(2):
        with acquire_lease(lake):
            lake.ensure_writable_location()
            assert {file.name for file in (tmp_path / "My lake").iterdir()} >= {"lease.json"}
        assert not (tmp_path / "My lake").exists()
    (tmp_path / "My lake").mkdir()
    with acquire_lease(lake):
        pass
    assert not list((tmp_path / "My lake").iterdir())


@pytest.mark.slow
def test_process_cannot_acquire_lease_twice(lake: Lake) -> None:
    with acquire_lease(lake):
        with pytest.raises(LeaseError, match=f"process {os.getpid()} on"), acquire_lease(lake):
            pass
        assert lease_owner(lake)


@pytest.mark.slow
def test_next_owner_waits_for_java_process_of_killed_driver(lake: Lake) -> None:
    file = Path(lake.root.removeprefix("file:"), "lease-java")
    file.parent.mkdir()
    with start(LOCK_LIKE_JAVA, str(file)) as java:
        assert java.stdout
        assert java.stdout.readline() == "locked\n"
        threading.Timer(0.5, java.kill).start()
        with acquire_lease(lake):
            assert java.wait(timeout=1) == -signal.SIGKILL


def test_failed_acquisition_on_full_disk_leaves_lease_free(lake: Lake, tmp_path: Path) -> None:
    with small_disk(tmp_path / "My lake", 1) as disk:
        disk.fill(free_bytes=0)
        with pytest.raises(OSError, match="No space left"), acquire_lease(lake):
            pass
        disk.empty()
        with acquire_lease(lake):
            assert lease_owner(lake)


@pytest.mark.parametrize("replaced", [False, True])
def test_lease_taken_over_on_file_server_is_lost(lake: Lake, replaced: bool) -> None:
    # A server that drops the lock of a disconnected host lets the next host write into the same file. A third host
    # finds a new file, if the second one released the lease in the meantime.
    file = Path(lake.root.removeprefix("file:"), "lease.json")
    other = Holder(host="other", pid=7)
    with acquire_lease(lake) as lease:
        assert lease.lost is None
        if replaced:
            file.unlink()
        file.write_bytes(other.as_json())
        assert "was taken over by process 7 on other since" in str(lease.lost)
        assert lease.lost is lease.lost
    assert file.read_bytes() == other.as_json()


def test_lease_whose_file_was_deleted_is_lost(lake: Lake) -> None:
    with acquire_lease(lake) as lease:
        Path(lake.root.removeprefix("file:"), "lease.json").unlink()
        assert "lease.json was deleted or cannot be read; start the command again" in str(
            lease.lost
        )


@pytest.mark.spark
def test_java_process_holds_own_lock_until_release(spark: SparkSession, lake: Lake) -> None:
    lock = Path(lake.root.removeprefix("file:"), "lease-java")
    for _ in range(2):
        with acquire_lease(lake) as lease:
            lease.guard(spark)
            lease.guard(spark)
            with lock.open("w") as file, pytest.raises(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not lock.exists()
