"""Tests for `streaming.ingest.discovery`: the two file sources of the stream, and the checkpoint of the manifests."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

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
from streaming.storage.interface import local_path
from support.lakes.small_lakes import below, commit_metadata, jpeg, photos, put, put_all

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


def test_unknown_file_source_is_rejected() -> None:
    with pytest.raises(UsageError, match="'csv' is unknown: choose binaryFile or manifests"):
        IngestSettings(file_source="csv")


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

    def __init__(self, source: Path, lake: Lake, **settings: float) -> None:
        source.mkdir()
        self.source, self.lake, self.stop = source, lake, threading.Event()
        self.images = 0
        self._settings = IngestSettings(trigger=0.2, settle=0, sweep_every=1000, **settings)
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


@pytest.mark.long
@pytest.mark.spark
def test_full_checkpoint_is_replaced_while_the_stream_runs(
    spark: SparkSession,
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery.ManifestDiscovery, "max_batches", 2)
    source, lake = tmp_path / "images", Lake.at(str(new_lake()))
    stream = LiveStream(source, lake)
    queries: set[str] = set()
    count = 0
    try:
        # The stream needs a moment without new images to start a new checkpoint.
        while len(queries) < 3 and count < 30:
            stream.add(f"Fig/{count}.jpg", count)
            count += 1
            commits = commit_metadata(lake.features)
            queries = {commit["query"] for commit in commits if commit["query"]}
            time.sleep(0.5)
    finally:
        stream.stop.set()
    assert stream.run.result(60).outcomes == {"features": count}
    assert len(queries) == 3
    assert max(commit["batch"] for commit in commits) < count - 1
    assert below(source, lake.features) == sorted(f"Fig/{number}.jpg" for number in range(count))
    assert list(local_path(lake.arrivals).iterdir()) == []
    assert not list(local_path(f"{lake.root}/checkpoints").glob("*.removed"))


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
