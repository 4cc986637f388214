"""Tests for `streaming.lease.s3`: one holder, told by an object that it renews or loses to another."""

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

pytestmark = pytest.mark.s3

HOLDING = """
import sys, time
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease
with acquire_lease(Lake.at(sys.argv[1])) as lease:
    print("held", flush=True)
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
    """Another process that holds the lake."""
    command = [sys.executable, "-c", HOLDING, lake.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert line(process) == "held"
        yield process
        process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def told(lake: Lake) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(open_storage(lake.root).read(f"{lake.root}/lease.json"))
    return content


def take_over(lake: Lake, seconds: float = 30) -> Any:
    """Try to hold the lake until its holder's term has run out."""
    until = time.monotonic() + seconds
    while True:
        held = acquire_lease(lake)
        try:
            return held, held.__enter__()
        except LeaseError:
            assert time.monotonic() < until


def test_a_second_holder_is_refused_for_longer_than_a_term_and_told_who_is_first(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    until = time.monotonic() + 4  # the term, what S3's whole seconds cost, and a second more
    while time.monotonic() < until:
        with pytest.raises(LeaseError) as refused, acquire_lease(lake):
            pass
        who = f"process {other.pid} on {socket.gethostname()} since 20"
        assert str(refused.value).startswith(f"{lake.root} is being written by {who}")
        assert "pomona stop" in str(refused.value)
        time.sleep(0.5)
    assert lease_owner(lake).pid == other.pid  # type: ignore[union-attr]


def test_what_is_let_go_of_is_free_at_once_and_keeps_its_checkpoint(lake: Lake) -> None:
    for _ in range(2):
        with acquire_lease(lake) as lease:
            assert lease_owner(lake) == lease.holder
            assert lease.lake.checkpoint == lake.checkpoint
        assert lease_owner(lake) is None
        assert told(lake)["released"] is True


def test_a_killed_holder_is_replaced_when_its_term_has_run_out(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    other.kill()
    with pytest.raises(LeaseError, match=r"until its term ends in [123] s"), acquire_lease(lake):
        pass
    held, lease = take_over(lake)
    assert lease_owner(lake) == lease.holder
    assert lease.lake.checkpoint == f"{lake.checkpoint}-{lease.holder.id[:8]}"
    held.__exit__(None, None, None)
    with acquire_lease(
        lake
    ) as next_one:  # nobody was pushed aside: it goes on with that checkpoint
        assert next_one.lake.checkpoint == lease.lake.checkpoint


def test_a_paused_holder_learns_that_it_was_replaced_and_lets_the_new_one_be(
    lake: Lake, other: subprocess.Popen[str]
) -> None:
    os.kill(other.pid, signal.SIGSTOP)
    held, lease = take_over(lake)
    os.kill(other.pid, signal.SIGCONT)
    assert f"was taken over by process {os.getpid()} on" in line(other)
    assert other.wait(timeout=30) == 0
    assert lease_owner(lake) == lease.holder
    assert lease.lost is None
    held.__exit__(None, None, None)
    assert told(lake)["released"] is True


def test_a_pause_that_nobody_used_is_no_loss(lake: Lake, other: subprocess.Popen[str]) -> None:
    os.kill(other.pid, signal.SIGSTOP)
    until = time.monotonic() + 30
    while lease_owner(lake):  # its term runs out
        assert time.monotonic() < until
    os.kill(other.pid, signal.SIGCONT)
    while lease_owner(lake) is None:
        assert time.monotonic() < until
    assert other.poll() is None


def log_of(bucket: str, table: str) -> list[str]:
    """The commits of a table's log, in their order."""
    found = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"My lake/{table}/_delta_log/")
    names = [entry["Key"].rpartition("/")[2] for entry in found["Contents"]]
    return [name for name in names if name.endswith(".json")]


def test_whoever_takes_over_makes_an_empty_commit_in_each_table(
    lake: Lake, bucket: str, aws: dict[str, str]
) -> None:
    options = {**aws, "AWS_ALLOW_HTTP": "true"}
    rows = pa.table({"path": ["a", "b"]})
    places = [table.replace("s3a:", "s3:") for table in (lake.features, lake.quarantine)]
    for place, commits in zip(places, (12, 1), strict=True):
        for _ in range(commits):
            deltalake.write_deltalake(place, rows, mode="append", storage_options=options)
    deltalake.DeltaTable(places[0], storage_options=options).create_checkpoint()
    with acquire_lease(
        lake
    ) as lease:  # a lake of before there were leases: somebody may be writing
        found = deltalake.DeltaTable(places[1], storage_options=options)
        assert found.version() == 1
        assert found.to_pyarrow_table().num_rows == 2
        last = open_storage(lake.root).read(f"{lake.quarantine}/_delta_log/{1:020}.json").decode()
        assert '"operation": "POMONA TAKEOVER"' in last
        assert lease.holder.id in last
        assert log_of(bucket, "features") == [f"{number:020}.json" for number in range(13)]
    with acquire_lease(lake):
        assert len(log_of(bucket, "features")) == 13


def test_a_checkpoint_is_copied_under_another_query_id(lake: Lake) -> None:
    storage = open_storage(lake.root)
    files = {"metadata": b'{"id":"1"}', "offsets/0": b"v1", "commits/0": b"v1", "sources/0/0": b"x"}
    for name, content in files.items():
        storage.write(f"{lake.checkpoint}/{name}", content)
    after = f"{lake.checkpoint}-2"
    copy_checkpoint(lake.checkpoint, after)
    copied = {
        file.path.removeprefix(f"{after}/"): storage.read(file.path) for file in storage.list(after)
    }
    assert copied.keys() == files.keys()
    assert copied.pop("metadata") != files.pop("metadata")
    assert copied == files
    copy_checkpoint(f"{lake.checkpoint}-none", f"{lake.checkpoint}-3")
    assert not list(storage.list(f"{lake.checkpoint}-3"))


def test_an_object_that_was_deleted_is_put_again(lake: Lake, bucket: str) -> None:
    with acquire_lease(lake) as lease:
        boto3.client("s3").delete_object(Bucket=bucket, Key="My lake/lease.json")
        until = time.monotonic() + 30
        while lease_owner(lake) != lease.holder:
            assert time.monotonic() < until


@pytest.mark.parametrize("content", [b"", b"[]", b"{}"])
def test_an_object_that_is_no_lease_is_told_of_and_left_alone(lake: Lake, content: bytes) -> None:
    open_storage(lake.root).write(f"{lake.root}/lease.json", content)
    with (
        pytest.raises(LeaseError, match=r"lease.json is no lease of Pomona's: delete it"),
        acquire_lease(lake),
    ):
        pass
    assert open_storage(lake.root).read(f"{lake.root}/lease.json") == content


@pytest.mark.parametrize("text", ["soon", "0", "nan", "inf"])
def test_a_term_that_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(TERM_VARIABLE, text)
    with pytest.raises(UsageError, match=f"POMONA_LEASE_TERM={text}: give seconds, such as 30"):
        lease_term()


def test_what_is_told_of_a_holder_is_all_there_is() -> None:
    holder = Holder()
    assert Holder.from_dict(json.loads(holder.as_json(term=1))) == holder
