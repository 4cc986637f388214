"""Tests for `streaming.lease.s3`: one owner at a time renews the lease object, or loses it to another."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3
import deltalake
import pyarrow as pa
import pytest

from streaming.errors import LeaseError, UsageError
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease, lease_owner
from streaming.lease.checkpoint_copy import copy_checkpoint
from streaming.lease.holder import Holder
from streaming.lease.s3 import TERM_VARIABLE, lease_term
from streaming.storage.open import open_storage

pytestmark = [pytest.mark.s3, pytest.mark.long]

ACQUIRE_LEASE = """
import sys, time
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease
with acquire_lease(Lake.at(sys.argv[1])) as lease:
    print("acquired", flush=True)
    while not lease.lost:
        time.sleep(0.05)
    print(lease.lost, flush=True)
"""


@pytest.fixture(autouse=True)
def short_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TERM_VARIABLE, "1")


@pytest.fixture
def lake(bucket: str) -> Lake:
    return Lake.at(f"s3://{bucket}/My lake")


@pytest.fixture
def other(lake: Lake) -> Iterator[subprocess.Popen[str]]:
    """Another process, which owns the lease."""
    command = [sys.executable, "-c", ACQUIRE_LEASE, lake.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert read_line(process) == "acquired"
        yield process
        process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def lease_object(lake: Lake) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        open_storage(lake.root).read(f"{lake.root}/lease.json", None)
    )
    return content


def take_over(lake: Lake, seconds: float = 30) -> Any:
    """Try to acquire the lease until the one of its owner has expired; return context manager and lease."""
    until = time.monotonic() + seconds
    while True:
        manager = acquire_lease(lake)
        try:
            return manager, manager.__enter__()
        except LeaseError:
            assert time.monotonic() < until


def test_second_process_gets_error_for_longer_than_a_term(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    until = time.monotonic() + 4  # the term, 2 s for the resolution of S3's clock, and 1 s more
    while time.monotonic() < until:
        with pytest.raises(LeaseError) as error, acquire_lease(lake):
            pass
        owner = f"process {other.pid} on {socket.gethostname()} since 20"
        assert str(error.value).startswith(f"{lake.root} is being written by {owner}")
        assert "pomona stop" in str(error.value)
        time.sleep(0.5)
    assert lease_owner(lake).pid == other.pid  # type: ignore[union-attr]


def test_released_lease_is_free_and_keeps_checkpoint(lake: Lake) -> None:
    for _ in range(2):
        with acquire_lease(lake) as lease:
            assert lease_owner(lake) == lease.holder
            assert lease.lake.checkpoint == lake.checkpoint
        assert lease_owner(lake) is None
        assert lease_object(lake)["released"] is True


def test_lease_of_killed_owner_can_be_acquired_after_its_term(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    other.kill()
    with (
        pytest.raises(LeaseError, match=r"until its lease expires in [123] s"),
        acquire_lease(lake),
    ):
        pass
    manager, lease = take_over(lake)
    assert lease_owner(lake) == lease.holder
    assert lease.lake.checkpoint == f"{lake.checkpoint}-{lease.holder.id[:8]}"
    manager.__exit__(None, None, None)
    with acquire_lease(lake) as next_lease:  # released before: the checkpoint is kept
        assert next_lease.lake.checkpoint == lease.lake.checkpoint


def test_paused_owner_that_resumes_ends_and_does_not_disturb_new_owner(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    os.kill(other.pid, signal.SIGSTOP)
    manager, lease = take_over(lake)
    os.kill(other.pid, signal.SIGCONT)
    assert f"was taken over by process {os.getpid()} on" in read_line(other)
    assert other.wait(timeout=30) == 0
    assert lease_owner(lake) == lease.holder
    assert lease.lost is None
    manager.__exit__(None, None, None)
    assert lease_object(lake)["released"] is True


def test_owner_paused_beyond_its_term_renews_expired_lease(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    os.kill(other.pid, signal.SIGSTOP)
    until = time.monotonic() + 30
    while lease_owner(lake):  # until it expires
        assert time.monotonic() < until
    os.kill(other.pid, signal.SIGCONT)
    while lease_owner(lake) is None:
        assert time.monotonic() < until
    assert other.poll() is None


def log_of(bucket: str, table: str) -> list[str]:
    """Return the file names of the commits in a table's log, in order."""
    response = boto3.client("s3").list_objects_v2(
        Bucket=bucket, Prefix=f"My lake/{table}/_delta_log/"
    )
    names = [entry["Key"].rpartition("/")[2] for entry in response["Contents"]]
    return [name for name in names if name.endswith(".json")]


def test_takeover_makes_empty_commit_in_each_table(
    lake: Lake, bucket: str, aws: dict[str, str]
) -> None:
    options = {**aws, "AWS_ALLOW_HTTP": "true"}
    rows = pa.table({"path": ["a", "b"]})
    locations = [table.replace("s3a:", "s3:") for table in (lake.features, lake.quarantine)]
    for location, commits in zip(locations, (12, 1), strict=True):
        for _ in range(commits):
            deltalake.write_deltalake(location, rows, mode="append", storage_options=options)
    deltalake.DeltaTable(locations[0], storage_options=options).create_checkpoint()
    # A lake without a lease object: a process of an older Pomona version may be writing it.
    with acquire_lease(lake) as lease:
        table = deltalake.DeltaTable(locations[1], storage_options=options)
        assert table.version() == 1
        assert table.to_pyarrow_table().num_rows == 2
        last = (
            open_storage(lake.root)
            .read(f"{lake.quarantine}/_delta_log/{1:020}.json", None)
            .decode()
        )
        assert '"operation": "POMONA TAKEOVER"' in last
        assert lease.holder.id in last
        assert log_of(bucket, "features") == [f"{number:020}.json" for number in range(13)]
    with acquire_lease(lake):
        assert len(log_of(bucket, "features")) == 13


def test_copy_checkpoint_copies_files_and_changes_query_id(lake: Lake) -> None:
    storage = open_storage(lake.root)
    files = {"metadata": b'{"id":"1"}', "offsets/0": b"v1", "commits/0": b"v1", "sources/0/0": b"x"}
    for name, content in files.items():
        storage.write(f"{lake.checkpoint}/{name}", content)
    after = f"{lake.checkpoint}-2"
    copy_checkpoint(lake.checkpoint, after)
    copied = {
        file.path.removeprefix(f"{after}/"): storage.read(file.path, None)
        for file in storage.list(after)
    }
    assert copied.keys() == files.keys()
    assert copied.pop("metadata") != files.pop("metadata")
    assert copied == files
    copy_checkpoint(f"{lake.checkpoint}-none", f"{lake.checkpoint}-3")
    assert not list(storage.list(f"{lake.checkpoint}-3"))


def test_deleted_lease_object_is_written_again(lake: Lake, bucket: str) -> None:
    with acquire_lease(lake) as lease:
        boto3.client("s3").delete_object(Bucket=bucket, Key="My lake/lease.json")
        until = time.monotonic() + 30
        while lease_owner(lake) != lease.holder:
            assert time.monotonic() < until


@pytest.mark.parametrize("content", [b"", b"[]", b"{}"])
def test_invalid_lease_object_raises_error_and_is_kept(lake: Lake, content: bytes) -> None:
    open_storage(lake.root).write(f"{lake.root}/lease.json", content)
    with (
        pytest.raises(LeaseError, match=r"lease.json is not a lease of Pomona: delete it"),
        acquire_lease(lake),
    ):
        pass
    assert open_storage(lake.root).read(f"{lake.root}/lease.json", None) == content


def test_lease_file_of_a_folder_copied_to_s3_does_not_hold_the_lake(lake: Lake) -> None:
    """For example after `aws s3 sync` of a lake whose writer was killed."""
    open_storage(lake.root).write(f"{lake.root}/lease.json", Holder(host="laptop").as_json())
    assert lease_owner(lake) is None
    with acquire_lease(lake) as lease:
        assert lease_owner(lake) == lease.holder
        assert lease.lake.checkpoint_name == "ingest"


@pytest.mark.parametrize("text", ["soon", "0", "nan", "inf"])
def test_lease_term_invalid_value_raises_usage_error(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(TERM_VARIABLE, text)
    with pytest.raises(UsageError, match=f"POMONA_LEASE_TERM={text}: give seconds, such as 30"):
        lease_term()


def test_holder_json_round_trip() -> None:
    holder = Holder()
    assert Holder.from_dict(json.loads(holder.as_json(term=1))) == holder
