"""Tests for killed streams: no image is lost or duplicated. `make chaos` kills a hundred times."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from support.faults.kill_loop import KillLoop
from support.faults.kill_points import FOLDER, S3
from support.images.arriving_images import Arrivals
from support.lakes.lake_invariants import LakeChecker
from support.lakes.small_lakes import GARBAGE, ONCE, jpeg, put, upload_tree, version
from support.processes.cli import environment
from support.processes.inotify_watch import Event, Watch

pytestmark = [pytest.mark.end_to_end, pytest.mark.spark]


def replace_in_place(file: Path, content: bytes) -> bytes:
    """Replace the content of a file but keep its length and modification time, so that the listing is unchanged."""
    before = file.stat()
    content = content.ljust(before.st_size, b"\0")
    assert len(content) == before.st_size
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return content


def test_killed_local_stream_commits_each_image_once(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    source, folder = tmp_path / "images", new_lake()
    lake = Lake.at(str(folder))
    arrivals = Arrivals(lambda name, content: put(source / name, content))
    arrivals.put("Fig/quarantined.jpg", GARBAGE.ljust(3000, b"!"))
    arrivals.put("Fig/unwritten.jpg", jpeg(1))
    loop = KillLoop(
        tmp_path,
        str(source),
        str(folder),
        arrivals,
        LakeChecker(lake, f"file:{source}"),
        lambda: {"lake": Watch(folder, "create", "moved")},
        random.Random(1),
    )
    loop.kill_at_each(FOLDER, ["between the two table writes"])
    assert (version(lake.features), version(lake.quarantine)) == (0, 1)
    # After the restart, an image with a row keeps it; one without a row is processed with its current content.
    assert "Fig/quarantined.jpg" in loop.checker.assert_consistent()[1]
    replace_in_place(source / "Fig" / "quarantined.jpg", jpeg(2))
    content = replace_in_place(source / "Fig" / "unwritten.jpg", GARBAGE)
    arrivals.content["Fig/unwritten.jpg"] = content

    loop.kill_at_each(FOLDER, ["inside the checkpoint's commit"])
    assert loop.kills.total() == 2
    assert loop.processes > 4
    ingest(str(source), str(folder), ONCE)
    loop.checker.assert_rows(arrivals.hashes(good=True), arrivals.hashes(good=False))
    loop.checker.assert_checkpoint_complete()


class PollingWatch:
    """Reports new objects in a bucket by listing it repeatedly."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def events(self, seconds: float) -> Iterator[Event]:
        """Yield new objects for a number of seconds."""
        from streaming.storage.s3_client import s3_client

        client, deadline, known = s3_client(), time.monotonic() + seconds, set[str]()
        while time.monotonic() < deadline:
            listed = client.list_objects_v2(Bucket=self._bucket, Prefix="lake/features/")
            names = {entry["Key"] for entry in listed.get("Contents", ())}
            yield from (Event("PUT", name) for name in names - known)
            yield Event("nothing")
            known = names

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.long
@pytest.mark.s3
def test_killed_s3_stream_commits_each_image_once(
    spark: SparkSession, aws: dict[str, str], bucket: str, tables: Path, tmp_path: Path
) -> None:
    from streaming.storage.s3 import S3Storage
    from streaming.storage.s3_client import s3_client

    client, root = s3_client(), f"s3a://{bucket}/lake"
    upload_tree(tables, bucket, "lake")

    def put_object(name: str, content: bytes) -> None:
        client.put_object(Bucket=bucket, Key=f"images/{name}", Body=content)

    loop = KillLoop(
        tmp_path,
        f"s3://{bucket}/images",
        root,
        Arrivals(put_object),
        LakeChecker(
            Lake.at(root),
            f"s3a://{bucket}/images",
            {**aws, "AWS_ALLOW_HTTP": "true"},
            S3Storage(),
        ),
        lambda: {"lake": PollingWatch(bucket)},
        random.Random(1),
        environment(POMONA_LEASE_TERM="5"),
        pause=10,
    )
    loop.kill_at_each(S3, ["rows are being written"])
    assert loop.kills.total() == 1
    ingest(loop.source, root, ONCE)
    arrivals = loop.arrivals
    loop.checker.assert_rows(arrivals.hashes(good=True), arrivals.hashes(good=False))
    loop.checker.assert_checkpoint_complete()
