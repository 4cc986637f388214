"""Promises of `streaming.ingest` about odd files, unfinished files, and files that come while it runs."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from small_lakes import GARBAGE, ONCE, below, jpeg, put, rows

from streaming.decode import Reason
from streaming.ingest import ingest
from streaming.lake import Lake
from streaming.results import BatchResult
from streaming.settings import IngestSettings, IngestSummary

pytestmark = pytest.mark.spark

REASONS = {
    "empty.jpg": Reason.EMPTY,
    "truncated_jpeg.jpg": Reason.TRUNCATED,
    "broken_data_stream.png": Reason.CORRUPT,
    "decompression_bomb.gif": Reason.TOO_MANY_PIXELS,
    "shortfile.bmp": Reason.TRUNCATED,
}


def test_odd_images_end_where_their_manifest_says(
    shared: Path, spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    source = tmp_path / "images"
    shutil.copytree(shared / "data" / "odd-images", source / "odd")
    with (source / "odd" / "manifest.csv").open(newline="") as file:
        manifest = {f"odd/{line['file']}": line for line in csv.DictReader(file)}
    lake = Lake.at(str(new_lake()))
    summary = ingest(str(source), lake.root, ONCE)
    good = {name for name, line in manifest.items() if line["expected"] == "decodes"}
    assert below(source, lake.features) == sorted(good)
    assert below(source, lake.quarantine) == sorted(manifest.keys() - good)
    for row in rows(lake.features):
        line = manifest[row["path"].removeprefix(f"file:{source}/")]
        assert f"{row['width']}x{row['height']}" == line["size"]
        assert (row["format"], row["length"]) == (line["format"], int(line["bytes"]))
    for row in rows(lake.quarantine):
        assert row["reason"] == REASONS[row["path"].rsplit("/", 1)[1]]
        assert row["detail"]
        assert row["attempts"] == 1
    assert summary.ignored == 3  # manifest, README and licence


class Copying:
    """A program that touches and lengthens files until the watcher has seen what it should."""

    def __init__(self, young: Path, growing: Path) -> None:
        self.young, self.growing = young, growing
        self.results: list[BatchResult] = []
        self.end_of_young = 0.0
        self._done = {young: threading.Event(), growing: threading.Event()}

    def __call__(self, result: BatchResult, summary: IngestSummary) -> None:
        self.results.append(result)
        if result.outcomes["features"]:
            self._done[self.young].set()
        if f"file:{self.growing}" in result.changing:
            self._done[self.growing].set()

    def keep_young(self) -> None:
        while not self._done[self.young].wait(0.05):
            os.utime(self.young)
        self.end_of_young = self.young.stat().st_mtime

    def keep_growing(self) -> None:
        content = jpeg(3)
        while not self._done[self.growing].wait(0.02):
            content += b"\0"
            put(self.growing, content)
        put(self.growing, jpeg(4))


def test_files_that_are_being_written_are_taken_when_they_are_whole(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    names = ("Fig/growing.jpg", "Fig/still.jpg", "Fig/young.jpg")
    growing, still, young = (tmp_path / "images" / name for name in names)
    put(still, jpeg(1))
    put(young, jpeg(2), written=time.time())
    put(growing, jpeg(3))
    copying = Copying(young, growing)
    lake = Lake.at(str(new_lake()))
    with ThreadPoolExecutor(2) as pool:
        pool.submit(copying.keep_young)
        pool.submit(copying.keep_growing)
        summary = ingest(
            str(tmp_path / "images"), lake.root, IngestSettings(once=True, settle=1), copying
        )
    assert below(tmp_path / "images", lake.features) == list(names)
    assert below(tmp_path / "images", lake.quarantine) == []
    assert summary.outcomes["changing"] >= 1
    assert copying.results[0].outcomes["features"] == 1
    found = {row["path"].rsplit("/", 1)[1]: row for row in rows(lake.features)}
    assert found["young.jpg"]["ingested_at"].timestamp() >= copying.end_of_young + 1
    assert found["growing.jpg"]["content_hash"] == hashlib.sha256(jpeg(4)).hexdigest()


@dataclass
class Running:
    """An ingestion that runs in a thread, as a service would run it."""

    source: Path
    lake: Lake
    stop: threading.Event
    end: Future[IngestSummary]
    results: list[BatchResult] = field(default_factory=list)

    def seconds_until(self, name: str, location: str, where: Callable[..., bool] = bool) -> float:
        """Wait until a table has such a row of this image."""
        started = time.monotonic()
        while time.monotonic() < started + 60:
            for row in rows(location):
                if row["path"] == f"file:{self.source}/{name}" and where(row):
                    return time.monotonic() - started
            if self.end.done():
                self.end.result()
            time.sleep(0.1)
        raise AssertionError(f"{name} is not in {location} after a minute")


@pytest.fixture(scope="module")
def running(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    source, lake = tmp_path_factory.mktemp("arriving"), Lake.at(str(new_lake()))
    stop, results = threading.Event(), list[BatchResult]()
    settings = IngestSettings(trigger=0.5, settle=0.5, sweep_every=2)
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(
            ingest, str(source), lake.root, settings, lambda result, _: results.append(result), stop
        )
        yield Running(source, lake, stop, end, results)
        stop.set()


def test_a_file_dropped_into_an_empty_folder_becomes_a_row(running: Running) -> None:
    put(running.source / "Fig" / "first.jpg", jpeg(1))
    running.seconds_until("Fig/first.jpg", running.lake.features)


def test_in_a_running_stream_that_takes_a_few_seconds(running: Running) -> None:
    put(running.source / "Fig" / "second.jpg", jpeg(2))
    # On an idle machine it takes 2 to 3 s; the tests may share theirs.
    assert running.seconds_until("Fig/second.jpg", running.lake.features) < 20


def test_a_running_ingestion_sweeps_for_what_the_stream_passes_over(running: Running) -> None:
    put(running.source / "Fig" / "empty.jpg", b"")
    put(running.source / "Fig" / "first.jpg", GARBAGE, written=time.time() - 30)
    put(running.source / "Fig" / "second.jpg", jpeg(3), written=time.time() - 30)
    running.seconds_until("Fig/empty.jpg", running.lake.quarantine)
    running.seconds_until("Fig/first.jpg", running.lake.quarantine)
    running.seconds_until(
        "Fig/second.jpg", running.lake.features, lambda row: row["length"] == len(jpeg(3))
    )


def test_a_stop_ends_it_at_once_and_in_order(running: Running, spark: SparkSession) -> None:
    running.stop.set()
    summary = running.end.result(timeout=30)
    assert spark.streams.active == []
    assert summary.outcomes == {"features": 3, "quarantine": 2}
    assert below(running.source, running.lake.features) == ["Fig/second.jpg"]
    assert below(running.source, running.lake.quarantine) == ["Fig/empty.jpg", "Fig/first.jpg"]
    assert sum(result.written for result in running.results) == 5
