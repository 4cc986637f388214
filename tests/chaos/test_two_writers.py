"""Tests for two streams on one lake, one paused at random moments: no row is lost, duplicated or overwritten.

`POMONA_CHAOS_PAUSES` (8) sets the number of pauses, `POMONA_CHAOS_SEED` (1) the moments.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import deltalake
import pytest

from streaming.lake.layout import Lake
from streaming.lease.acquire import lease_owner
from streaming.lease.s3 import TERM_VARIABLE
from support.lakes.small_lakes import GARBAGE, below, jpeg, photos, put_all, upload_tree
from support.processes.cli import PROGRAM, CommandResult, environment, program
from support.processes.process_trees import kill, pause, resume

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(3600)]

PAUSES = int(os.environ.get("POMONA_CHAOS_PAUSES", "8"))
SEED = int(os.environ.get("POMONA_CHAOS_SEED", "1"))
TERM = "3"
IMAGES, LAKE = "images-of-two-writers", "lake-of-two-writers"


class Stream:
    """A running `pomona ingest`."""

    def __init__(self, source: object, lake: object, folder: Path) -> None:
        self._errors = folder / f"stderr-{time.monotonic_ns()}"
        options = ["--trigger", "0.5", "--settle", "0", "--sweep-every", "5"]
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [PROGRAM, "ingest", str(source), str(lake), *options],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment(),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait(self, seconds: float = 300) -> CommandResult:
        """Wait for the end; return the exit status and the errors."""
        return CommandResult(self.process.wait(timeout=seconds), "", self._errors.read_text())


@contextmanager
def killed_at_end(streams: list[Stream]) -> Iterator[None]:
    try:
        yield
    finally:
        for stream in streams:
            if stream.process.poll() is None:
                kill(stream.pid)
                stream.process.wait()


def wait_for_lease(lake: Lake, stream: Stream, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while (holder := lease_owner(lake)) is None or holder.pid != stream.pid:
        assert stream.process.poll() is None, stream.wait()
        assert time.monotonic() < deadline
        time.sleep(0.2)


class ImageUploader(threading.Thread):
    """Uploads images to a bucket continuously, every seventh one broken."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.names: list[str] = []
        self._stopped, self._client = threading.Event(), boto3.client("s3")

    def run(self) -> None:
        while not self._stopped.wait(0.3):
            number = len(self.names)
            content = GARBAGE + bytes([number % 256]) if number % 7 == 6 else jpeg(number % 50)
            key = f"Fig {number % 3}/{number}.jpg"
            self._client.put_object(Bucket=IMAGES, Key=key, Body=content)
            self.names.append(key)

    def stop(self) -> list[str]:
        """Stop; return the names of the images."""
        self._stopped.set()
        self.join()
        return self.names


@pytest.fixture
def lake(aws: dict[str, str], random_model: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Return a lake in a bucket with versioning, which makes overwritten objects detectable."""
    monkeypatch.setenv(TERM_VARIABLE, TERM)
    client = boto3.client("s3")
    region = {"LocationConstraint": aws["AWS_REGION"]}
    for name in (IMAGES, LAKE):
        client.create_bucket(Bucket=name, CreateBucketConfiguration=region)
    upload_tree(random_model, LAKE, "lake/models")
    client.put_bucket_versioning(Bucket=LAKE, VersioningConfiguration={"Status": "Enabled"})
    return Lake.at(f"s3://{LAKE}/lake")


def overwritten_commits() -> list[str]:
    """Return the names of Delta commits that were written more than once, or deleted."""
    versions: Counter[str] = Counter()
    for page in boto3.client("s3").get_paginator("list_object_versions").paginate(Bucket=LAKE):
        for entry in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
            if "/_delta_log/0" in entry["Key"] and entry["Key"].endswith(".json"):
                versions[entry["Key"]] += 1
    assert versions
    return [key for key, count in versions.items() if count > 1]


def paths(location: str, aws: dict[str, str]) -> list[str]:
    options = {**aws, "AWS_ALLOW_HTTP": "true"}
    table = deltalake.DeltaTable(location.replace("s3a:", "s3:"), storage_options=options)
    return sorted(
        row["path"].removeprefix(f"s3a://{IMAGES}/") for row in table.to_pyarrow_table().to_pylist()
    )


def test_paused_stream_on_s3_is_fenced_off(lake: Lake, aws: dict[str, str], tmp_path: Path) -> None:
    rng, started = random.Random(SEED), time.monotonic()
    source, uploader, streams = f"s3://{IMAGES}", ImageUploader(), []
    uploader.start()
    with killed_at_end(streams):
        streams.append(Stream(source, lake.root, tmp_path))
        wait_for_lease(lake, streams[0])
        for _ in range(PAUSES):
            paused = streams[-1]
            time.sleep(rng.uniform(0, 20))  # starting, idle, featurizing or committing
            pause(paused.pid)
            refused = Stream(source, lake.root, tmp_path).wait()
            assert refused.status == 1
            assert f"process {paused.pid} on" in refused.error_line
            deadline = time.monotonic() + 60
            while lease_owner(lake):
                assert time.monotonic() < deadline
            streams.append(Stream(source, lake.root, tmp_path))
            wait_for_lease(lake, streams[-1])
            time.sleep(rng.uniform(0, 15))
            resume(paused.pid)
            lost = paused.wait()
            assert lost.status == 1
            assert "taken" in lost.error_line
        names = uploader.stop()
        stopped = program("stop", lake.root)
        assert f"process {streams[-1].pid} on" in stopped.out
        assert streams[-1].wait().status == 0
    assert program("ingest", source, lake.root, "--once").status == 0
    broken = [name for number, name in enumerate(names) if number % 7 == 6]
    assert paths(lake.quarantine, aws) == sorted(broken)
    assert paths(lake.features, aws) == sorted(set(names) - set(broken))
    assert overwritten_commits() == []
    seconds = time.monotonic() - started
    print(f"{PAUSES} pauses, {len(streams)} streams, {len(names)} images, {seconds:.0f} s")


def test_paused_local_stream_keeps_lease_and_killed_one_releases_it(
    random_model: Path, tmp_path: Path
) -> None:
    source, root = tmp_path / "images", tmp_path / "lake"
    shutil.copytree(random_model, root / "models")
    lake, streams = Lake.at(str(root)), []
    put_all(source, photos("Fig", range(5)))
    with killed_at_end(streams):
        streams.append(Stream(source, root, tmp_path))
        wait_for_lease(lake, streams[0])
        while len(list((root / "features" / "_delta_log").glob("*.json"))) < 2:
            time.sleep(0.1)
        pause(streams[0].pid)
        for _ in range(2):
            refused = program("ingest", source, root, "--once")
            assert refused.status == 1
            assert f"process {streams[0].pid} on" in refused.error_line
        put_all(source, photos("Pear", range(5)))
        kill(streams[0].pid)
        streams[0].process.wait()
        assert program("ingest", source, root, "--once").status == 0
    everything = [f"{label}/{n}.jpg" for label in ("Fig", "Pear") for n in range(5)]
    assert below(source, lake.features) == everything
