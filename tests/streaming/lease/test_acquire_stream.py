"""Tests for a running stream: it owns the lease, executes requests, and ends on `pomona stop`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pyspark.sql import SparkSession

from streaming.delta.tables import RETENTION_PROPERTIES
from streaming.errors import LeaseError, UsageError
from streaming.ingest.pipeline import ingest
from streaming.ingest.request_client import submit_and_wait
from streaming.lake.layout import Lake
from streaming.lease.acquire import lease_owner
from streaming.maintenance import operations
from streaming.maintenance.context import OperationContext
from streaming.maintenance.requests import Request, pending_requests, submit
from support.lakes.small_lakes import ONCE, below, photos, put_all
from support.processes.cli import Command, shown

pytestmark = pytest.mark.end_to_end

PROGRAM = """
import os, sys
from streaming.maintenance import operations
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings

def count_skipped(context, arguments):
    results = context.process(list(context.source.images()))
    return {"pid": os.getpid(), "skipped": sum(result.skipped for result in results), **arguments}

def fail(context, arguments):
    raise OSError("no such thing")

operations.OPERATIONS |= {"count": count_skipped, "fail": fail}
ingest(sys.argv[1], sys.argv[2], IngestSettings(trigger=0.5, settle=0), lambda *_: print("batch", flush=True))
print("ended", flush=True)
"""


@contextmanager
def killed(running: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process when the block ends, also if a test fails."""
    try:
        yield
    finally:
        running.kill()


def remaining_output(running: subprocess.Popen[str]) -> Sequence[str]:
    """Wait for the end of a process, and return the words that it still printed."""
    return running.communicate(timeout=400)[0].split()


@pytest.mark.long
def test_stream_executes_requests_excludes_second_writer_and_stops(
    new_lake: Callable[[], Path], tmp_path: Path, pomona: Command
) -> None:
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    put_all(source, photos("Fig", range(3)))
    command = [sys.executable, "-c", PROGRAM, str(source), lake.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running, killed(running):
        assert running.stdout
        assert running.stdout.readline() == "batch\n"
        owner = f"process {running.pid} on {socket.gethostname()} since"
        with pytest.raises(LeaseError, match=owner):
            ingest(str(source), lake.root, ONCE)

        result = submit_and_wait(lake, Request("count", {"Été": [1]}), timeout=400)
        assert result == {"pid": running.pid, "skipped": 3, "Été": [1]}
        with pytest.raises(UsageError, match="does not support this request"):
            submit_and_wait(lake, Request("dance"), timeout=400)
        with pytest.raises(Exception, match="no such thing"):
            submit_and_wait(lake, Request("fail"), timeout=400)

        # The stream sets the retention of the tables for a new tag.
        table = deltalake.DeltaTable(lake.features.removeprefix("file:"))
        table.alter.set_table_properties(dict.fromkeys(RETENTION_PROPERTIES, "interval 1 week"))
        done = pomona("tag", lake.root, "audit")
        assert "the tables now keep removed files for 3,650 days" in done.out
        table.update_incremental()
        retention = [table.metadata().configuration[name] for name in RETENTION_PROPERTIES]
        assert retention == ["interval 3650 days"] * 2
        assert table.history(1)[0]["engineInfo"].startswith("Apache-Spark")

        submit(lake, Request("stop", {"holder": "an earlier owner"}))  # is ignored
        until = time.monotonic() + 60
        while pending_requests(lake):
            assert time.monotonic() < until
        assert running.poll() is None

        done = pomona("stop", lake.root)
        assert (done.status, done.err) == (0, "")
        assert done.out.startswith("stopped after ")
        assert owner in done.out
        assert remaining_output(running)[-1] == "ended"
        assert running.wait() == 0
    assert below(source, lake.features) == [f"Fig/{number}.jpg" for number in range(3)]
    assert pending_requests(lake) == []
    assert lease_owner(lake) is None
    assert (
        pomona("stop", lake.root).out == f"nothing to stop: no process writes {shown(lake.root)}\n"
    )
    assert pomona("stop", lake.root, "--json").json["stopped"] is False


@pytest.mark.long
@pytest.mark.spark
def test_request_without_stream_is_executed_by_client(
    spark: SparkSession,
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    put_all(source, photos("Fig", range(2)))
    ingest(str(source), lake.root, ONCE)
    put_all(source, photos("Pear", range(2)))

    def ingest_all(context: OperationContext, arguments: dict[str, Any]) -> dict[str, Any]:
        assert context.source
        assert lease_owner(lake).pid == os.getpid()  # type: ignore[union-attr]
        results = context.process(list(context.source.images()))
        return {"written": sum(result.written for result in results), **arguments}

    monkeypatch.setitem(operations.OPERATIONS, "ingest all", ingest_all)
    assert submit_and_wait(lake, Request("ingest all")) == {"written": 2}
    assert len(below(source, lake.features)) == 4
    assert lease_owner(lake) is None
    assert pending_requests(lake) == []


def test_stop_fails_for_folder_that_is_not_a_lake(pomona: Command, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert "is not a lake" in pomona("stop", tmp_path).error_line
    assert pomona("stop", tmp_path / "none").status == 0
