"""Tests for `streaming.ingest.discovery`: the two file sources of the stream, and the checkpoint of the manifests."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from streaming.errors import PomonaError, UsageError
from streaming.featurize.results import BatchResult
from streaming.ingest import discovery
from streaming.ingest.discovery import (
    BinaryFileDiscovery,
    Discovery,
    ManifestDiscovery,
    choose_discovery,
)
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import BINARY_FILE, MANIFESTS, IngestSettings, IngestSummary
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile, local_path
from support.lakes.small_lakes import below, commit_metadata, jpeg, photos, put, put_all, rows

FOLDER, PREFIX = "/images", "s3://bucket/images"


def chosen(source: str, lake: str, file_source: str | None) -> type[Discovery]:
    settings = IngestSettings(file_source=file_source)
    index = ImageIndex.load(Lake("file:/none"))
    return type(choose_discovery(Source.at(source), Lake.at(lake), settings, 10, index))


def test_folders_have_manifests_by_default_and_prefixes_have_spark_list_them() -> None:
    assert chosen(FOLDER, "/lake", None) is ManifestDiscovery
    assert chosen(FOLDER, "/lake", MANIFESTS) is ManifestDiscovery
    assert chosen(FOLDER, "/lake", BINARY_FILE) is BinaryFileDiscovery
    assert chosen(PREFIX, "/lake", None) is BinaryFileDiscovery
    assert chosen(FOLDER, "s3://bucket/lake", None) is BinaryFileDiscovery


@pytest.mark.parametrize(("source", "lake"), [(PREFIX, "/lake"), (FOLDER, "s3://bucket/lake")])
def test_manifests_on_s3_are_rejected(source: str, lake: str) -> None:
    with pytest.raises(UsageError, match="needs a source and a lake that are folders"):
        ingest(source, lake, IngestSettings(file_source=MANIFESTS))


def test_triggers_on_s3_are_a_minute_apart_by_default() -> None:
    """S3 bills each of them, also while nothing arrives."""
    folder, prefix = Source.at(FOLDER).root, Source.at(PREFIX).root
    assert IngestSettings().trigger_seconds(prefix) == 60
    assert IngestSettings().trigger_seconds(folder) == 5
    assert IngestSettings(trigger=7).trigger_seconds(prefix) == 7
    assert IngestSettings(trigger=7).trigger_seconds(folder) == 7


def test_unknown_file_source_is_rejected() -> None:
    with pytest.raises(UsageError, match="--file-source csv: choose binaryFile or manifests"):
        IngestSettings(file_source="csv")


def test_first_images_are_written_to_manifests_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_SORTED", 4)
    lake = Lake.at(str(tmp_path / "lake"))
    put(local_path(lake.arrivals) / "killed.json", b"{}")
    manifests = ManifestDiscovery(Source.at(FOLDER), lake, 2, ImageIndex.load(Lake("file:/none")))
    ages = (4, 3, 2, 1, 6, 5, 0)
    images = [StoredFile(f"file:{FOLDER}/{ms}.jpg", int(ms != 1), ms) for ms in ages]
    seen = []

    def listing() -> Iterator[StoredFile]:
        for image in images:
            seen.append(
                (len(manifests._arrivals._found), len(list(local_path(lake.arrivals).iterdir())))
            )
            yield image

    count, first = manifests.plan(listing())
    assert (count, [file.modified_ms for file in first]) == (7, [2, 3])  # 1 is empty
    assert seen == [(0, 1)] * 4 + [(0, 2)] * 3
    written = sorted(local_path(lake.arrivals).iterdir(), key=lambda file: file.stat().st_mtime_ns)
    lines = [file.read_text().splitlines() for file in written]
    assert [[json.loads(line)["modified_ms"] for line in file] for file in lines] == [
        [2, 3],
        [4],
        [0, 5],
        [6],
    ]
    assert manifests.outstanding == manifests.position == 6


class Query:
    """A streaming query over `binaryFile`, and its status between two triggers."""

    def __init__(self) -> None:
        self.discovery = BinaryFileDiscovery(Source(PREFIX), Lake(PREFIX), max_files=2)
        self.status = {"message": "Initializing sources", "isDataAvailable": False}

    def trigger(self, *modified_ms: int) -> None:
        """Deliver and commit images of these times; as Spark does, deliver nothing if there are none."""
        if modified_ms:
            self.discovery.deliver([Row(path="a", length=1, modified_ms=ms) for ms in modified_ms])
            self.discovery.committed()
        self.status |= {
            "message": "Waiting for next trigger",
            "isDataAvailable": bool(modified_ms),
        }

    def has_committed(self, position: int) -> bool:
        return self.discovery.has_committed(position, self)  # type: ignore[arg-type]


def test_spark_has_committed_all_images_after_a_micro_batch_that_is_not_full() -> None:
    query = Query()
    assert not query.has_committed(10)
    query.trigger(1, 2)
    assert not query.has_committed(10)
    query.trigger(3)
    assert query.has_committed(10)


def test_spark_has_committed_all_images_if_a_trigger_finds_none() -> None:
    query = Query()
    query.trigger()
    assert query.has_committed(10)
    query.trigger(1, 2)
    assert not query.has_committed(10)
    query.trigger()
    query.status["message"] = "Getting offsets from FileStreamSource"  # of the next trigger
    assert query.has_committed(10)


def test_spark_has_committed_older_images_while_each_micro_batch_is_full() -> None:
    query = Query()
    query.trigger(9, 12)
    assert not query.has_committed(10)
    query.trigger(11, 12)
    assert query.has_committed(10)
    assert not query.has_committed(query.discovery.position)


@pytest.mark.long
@pytest.mark.spark
def test_file_sources_alternate_without_losing_or_repeating_an_image(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    """The checkpoint of each is older than the lake when it is used again."""
    source, lake = tmp_path / "images", Lake.at(str(new_lake()))
    put_all(source, photos("Fig", range(2)) | {"Fig/empty.jpg": b""})
    outcomes = []
    for number, file_source in enumerate((BINARY_FILE, MANIFESTS, BINARY_FILE, None)):
        put(source / "Kiwi" / f"{number}.jpg", jpeg(10 + number))
        settings = IngestSettings(once=True, settle=0, file_source=file_source)
        outcomes.append(dict(ingest(str(source), lake.root, settings).outcomes))
    assert outcomes == [{"features": 3, "quarantine": 1}, *[{"features": 1}] * 3]
    assert len(below(source, lake.features)) == len(set(below(source, lake.features))) == 6
    # `binaryFile` leaves the empty file to the sweep.
    assert [commit["query"] for commit in commit_metadata(lake.quarantine)] == [None]
    queries = [commit["query"] for commit in commit_metadata(lake.features)]
    assert queries[0] == queries[2] != queries[1] == queries[3]


class LiveStream:
    """A stream in a thread, and the number of images that it has written."""

    def __init__(self, source: Path, lake: Lake, **settings: Any) -> None:
        source.mkdir()
        self.source, self.lake, self.stop = source, lake, threading.Event()
        self.images = 0
        settings = {"trigger": 0.2, "settle": 0, "sweep_every": 1000, **settings}
        self._settings = IngestSettings(**settings)
        self._pool = ThreadPoolExecutor(1)
        self.run = self._pool.submit(
            ingest, str(source), lake.root, self._settings, self._count, self.stop
        )

    def _count(self, result: BatchResult, summary: IngestSummary) -> None:
        self.images = summary.images

    def add(self, name: str, seed: int) -> None:
        """Add an image, and wait for its row."""
        put(self.source / name, jpeg(seed))
        expected = sum(1 for _ in self.source.rglob("*.jpg"))
        deadline = time.monotonic() + 120
        while self.images < expected and time.monotonic() < deadline:
            if self.run.done():
                self.run.result()
            time.sleep(0.05)
        assert self.images == expected


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.long
@pytest.mark.spark
def test_steady_arrivals_delay_neither_sweep_nor_new_checkpoint(
    spark: SparkSession,
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery.ManifestDiscovery, "max_batches", 2)
    source, lake = tmp_path / "images", Lake.at(str(new_lake()))
    stream = LiveStream(source, lake, sweep_every=1)
    stopped = threading.Event()
    names = ["Fig/replaced.jpg"]

    def write_images() -> None:
        for number in itertools.count():
            if stopped.wait(0.2):
                return
            put(source / "Kiwi" / f"{number}.jpg", jpeg(number))
            names.append(f"Kiwi/{number}.jpg")

    def is_replaced() -> bool:
        return hashlib.sha256(jpeg(999)).hexdigest() in {
            row["content_hash"] for row in rows(lake.features)
        }

    def queries() -> set[str]:
        return {commit["query"] for commit in commit_metadata(lake.features)} - {None}

    with ThreadPoolExecutor(1) as pool:
        try:
            stream.add("Fig/replaced.jpg", 0)
            pool.submit(write_images)
            wait_for(lambda: len(below(source, lake.features)) > 10)
            put(source / "Fig" / "replaced.jpg", jpeg(999))
            wait_for(is_replaced)
            wait_for(lambda: len(queries()) >= 2)
            stopped.set()
            wait_for(lambda: stream.images == len(names) + 1)
            # If a sweep commits an image first, its manifest is still to be delivered.
            wait_for(lambda: not list(local_path(lake.arrivals).iterdir()))
        finally:
            stopped.set()
            stream.stop.set()
    stream.run.result(60)
    assert below(source, lake.features) == sorted(names)
    assert not list(local_path(f"{lake.root}/checkpoints").glob("*.removed"))


@pytest.mark.long
@pytest.mark.spark
def test_sweep_follows_a_full_micro_batch_of_spark(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    source, lake = tmp_path / "images", Lake.at(str(new_lake()))
    settings = {"file_source": BINARY_FILE, "max_files_per_trigger": 1, "sweep_every": 1}
    stream = LiveStream(source, lake, **settings)
    try:
        stream.add("Fig/0.jpg", 0)
        put(source / "Fig" / "0.jpg", jpeg(1))
        wait_for(lambda: stream.images == 2)
    finally:
        stream.stop.set()
    assert stream.run.result(60).replaced == 1


@pytest.mark.long
@pytest.mark.spark
def test_stream_ends_if_it_cannot_write_or_read_a_manifest(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    """Whether a manifest of the second image is still unread depends on the first sweep, which may find the image."""
    source, lake = tmp_path / "images", Lake.at(str(new_lake()))
    stream = LiveStream(source, lake)
    try:
        stream.add("Fig/0.jpg", 0)
        stream.add("Fig/1.jpg", 1)
        shutil.rmtree(local_path(lake.arrivals))
        put(local_path(lake.arrivals), b"a file")
        put(source / "Fig" / "2.jpg", jpeg(2))
        with pytest.raises(PomonaError, match="arrivals"):
            stream.run.result(120)
    finally:
        stream.stop.set()
    local_path(lake.arrivals).unlink()
    summary = ingest(str(source), lake.root, IngestSettings(once=True, settle=0))
    assert summary.outcomes == {"features": 1}
