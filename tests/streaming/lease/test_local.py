"""Tests for `streaming.lease.local`: the lock is the living process's, paused or not, and ends with it."""

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
from support.small_disk import small_disk

HOLDING = """
import sys
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease
with acquire_lease(Lake.at(sys.argv[1])) as lease:
    print(lease.holder.since, flush=True)
    sys.stdin.read()
"""
LOCKED_BY_JAVA = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "My lake"))


def start(program: str, *words: str) -> subprocess.Popen[str]:
    """Run a program until its first line."""
    command = [sys.executable, "-c", program, *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


@pytest.fixture
def other(lake: Lake) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lake."""
    with start(HOLDING, lake.root) as process:
        yield process
        process.kill()


def test_a_second_process_is_told_who_holds_the_lake_whether_it_runs_or_is_paused(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    since = other.stdout.readline().strip()  # type: ignore[union-attr]
    who = f"process {other.pid} on {socket.gethostname()} since {since}"
    for _ in range(2):
        with pytest.raises(LeaseError) as refused, acquire_lease(lake):
            pass
        text = (
            f"{lake.root} is being written by {who}: wait for its end, or end it with `pomona stop`"
        )
        assert str(refused.value) == text
        assert str(lease_owner(lake)) == who
        os.kill(other.pid, signal.SIGSTOP)


def test_a_killed_process_frees_it_at_once(lake: Lake, other: subprocess.Popen[str]) -> None:
    assert other.stdout.readline()  # type: ignore[union-attr]
    other.kill()
    other.wait()
    assert lease_owner(lake) is None
    with acquire_lease(lake):
        assert lease_owner(lake).pid == os.getpid()  # type: ignore[union-attr]


def test_what_is_let_go_of_leaves_nothing_behind(lake: Lake, tmp_path: Path) -> None:
    for _ in range(2):
        with acquire_lease(lake):
            lake.ensure_writable_location()
            assert {file.name for file in (tmp_path / "My lake").iterdir()} >= {"lease.json"}
        assert not (tmp_path / "My lake").exists()
    (tmp_path / "My lake").mkdir()
    with acquire_lease(lake):
        pass
    assert not list((tmp_path / "My lake").iterdir())


def test_one_process_cannot_hold_it_twice(lake: Lake) -> None:
    with acquire_lease(lake):
        with pytest.raises(LeaseError, match=f"process {os.getpid()} on"), acquire_lease(lake):
            pass
        assert lease_owner(lake)


def test_the_next_holder_waits_for_the_java_process_of_a_killed_driver(lake: Lake) -> None:
    file = Path(lake.root.removeprefix("file:"), "lease-java")
    file.parent.mkdir()
    with start(LOCKED_BY_JAVA, str(file)) as java:
        assert java.stdout
        assert java.stdout.readline() == "locked\n"
        threading.Timer(0.5, java.kill).start()
        with acquire_lease(lake):
            assert java.wait(timeout=1) == -signal.SIGKILL


def test_a_lease_that_a_full_disk_refuses_holds_nothing(lake: Lake, tmp_path: Path) -> None:
    with small_disk(tmp_path / "My lake", 1) as disk:
        disk.fill(free_bytes=0)
        with pytest.raises(OSError, match="No space left"), acquire_lease(lake):
            pass
        disk.empty()
        with acquire_lease(lake):
            assert lease_owner(lake)


@pytest.mark.spark
def test_java_holds_a_lock_of_its_own_as_long_as_the_lake_is_held(
    spark: SparkSession, lake: Lake
) -> None:
    lock = Path(lake.root.removeprefix("file:"), "lease-java")
    for _ in range(2):
        with acquire_lease(lake) as lease:
            lease.guard(spark)
            lease.guard(spark)
            with lock.open("w") as file, pytest.raises(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not lock.exists()
