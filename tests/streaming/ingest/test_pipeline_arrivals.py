"""Tests for `streaming.ingest.pipeline` with unusual and incomplete files, and files that arrive during the run."""

from __future__ import annotations

import csv
import hashlib
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.featurize.results import BatchResult
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings, IngestSummary, Stage
from streaming.lake.layout import Lake
from streaming.outcomes import Reason
from support.lakes.small_lakes import GARBAGE, ONCE, below, jpeg, put, put_all, rows

pytestmark = pytest.mark.spark

REASONS = {
    "empty.jpg": Reason.EMPTY,
    "truncated_jpeg.jpg": Reason.TRUNCATED,
    "broken_data_stream.png": Reason.CORRUPT,
    "decompression_bomb.gif": Reason.TOO_MANY_PIXELS,
    "shortfile.bmp": Reason.TRUNCATED,
}


def test_unusual_images_match_manifest(
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
    assert summary.ignored == 3  # manifest, README and license


class GrowingFiles:
    """Lengthens two files until the stream has processed an incomplete version of each.

    The file `growing` always decodes; `cut` is truncated until its last write. The instance is the batch callback.
    """

    def __init__(self, growing: Path, cut: Path) -> None:
        self.growing, self.cut = growing, cut
        self.seen = {growing: threading.Event(), cut: threading.Event()}

    def __call__(self, result: BatchResult, summary: IngestSummary) -> None:
        if result.outcomes["features"]:
            self.seen[self.growing].set()
        if f"file:{self.cut}" in result.changing:
            self.seen[self.cut].set()

    def lengthen(self, file: Path, first: bytes, last: bytes) -> None:
        """Append zero bytes to `first` until the stream has processed the file, then write `last`."""
        content = first
        while not self.seen[file].wait(0.02):
            content += b"\0"
            put(file, content, written=time.time())
        put(file, last, written=time.time())


def test_files_being_written_are_ingested_when_complete(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    names = ("Fig/cut.jpg", "Fig/growing.jpg", "Fig/unchanged.jpg")
    cut, growing, unchanged = (tmp_path / "images" / name for name in names)
    put(unchanged, jpeg(1))
    put(growing, jpeg(2), written=time.time())
    put(cut, jpeg(3)[:300], written=time.time())
    growing_files = GrowingFiles(growing, cut)
    lake = Lake.at(str(new_lake()))
    with ThreadPoolExecutor(2) as pool:
        pool.submit(growing_files.lengthen, growing, jpeg(2), jpeg(4))
        pool.submit(growing_files.lengthen, cut, jpeg(3)[:300], jpeg(5))
        summary = ingest(
            str(tmp_path / "images"), lake.root, IngestSettings(once=True, settle=1), growing_files
        )
    assert below(tmp_path / "images", lake.features) == list(names)
    assert below(tmp_path / "images", lake.quarantine) == []
    assert summary.outcomes["changing"] >= 1
    hashes = [row["content_hash"] for row in rows(lake.features)]
    assert hashes == [hashlib.sha256(jpeg(seed)).hexdigest() for seed in (5, 4, 1)]


def test_recent_complete_file_is_ingested_at_once(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    put(tmp_path / "Fig" / "complete.jpg", jpeg(1), written=time.time())
    ingested_at: list[float] = []
    settings = IngestSettings(once=True, settle=30)
    lake, stop = Lake.at(str(new_lake())), threading.Event()

    def on_batch(result: BatchResult, summary: IngestSummary) -> None:
        ingested_at.append(time.time())
        stop.set()

    started = time.time()
    summary = ingest(str(tmp_path), lake.root, settings, on_batch, stop)
    assert below(tmp_path, lake.features) == ["Fig/complete.jpg"]
    assert ingested_at[0] < started + 30
    assert summary.waiting == 0


def test_recent_broken_file_is_not_quarantined_yet(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    put(tmp_path / "Fig" / "cut.jpg", jpeg(1)[:300], written=time.time() + 3600)
    put(tmp_path / "Fig" / "recent.jpg", jpeg(1)[:300], written=time.time())
    lake, stop = Lake.at(str(new_lake())), threading.Event()
    settings = IngestSettings(once=True, settle=60)
    summary = ingest(str(tmp_path), lake.root, settings, lambda result, _: stop.set(), stop)
    assert below(tmp_path, lake.quarantine) == ["Fig/cut.jpg"]  # in an hour: waiting cannot help
    assert summary.waiting == 1


@pytest.mark.long
def test_waiting_counts_all_images_of_a_live_delivery(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    source = tmp_path / "photos"
    put(source / "Fig" / "first.jpg", jpeg(1))
    put_all(tmp_path / "later", {f"{number:02}.jpg": jpeg(10 + number) for number in range(30)})
    results: queue.Queue[tuple[int, int]] = queue.Queue()
    stop, watching = threading.Event(), threading.Event()

    def on_batch(result: BatchResult, summary: IngestSummary) -> None:
        results.put((result.written, summary.waiting))

    def on_stage(stage: Stage, images: int) -> None:
        if stage is Stage.WATCH and images == 1:  # after the first sweep
            watching.set()

    settings = IngestSettings(trigger=0.5, max_files_per_trigger=10)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ingest, str(source), str(new_lake()), settings, on_batch, stop, on_stage)
        try:
            assert results.get(timeout=200) == (1, 0)
            assert watching.wait(100)
            (tmp_path / "later").rename(source / "Kiwi")
            left = 30
            while left > 0:
                written, waiting = results.get(timeout=100)
                left -= written
                assert waiting == left
        finally:
            stop.set()
    assert run.result().waiting == 0


@dataclass
class RunningStream:
    """A stream that runs in a thread."""

    source: Path
    lake: Lake
    stop: threading.Event
    summary: Future[IngestSummary]
    results: list[BatchResult] = field(default_factory=list)

    def seconds_until(
        self, name: str, location: str, condition: Callable[..., bool] = bool
    ) -> float:
        """Wait until a table has a row of this image that satisfies the condition; return the seconds."""
        started = time.monotonic()
        while time.monotonic() < started + 60:
            for row in rows(location):
                if row["path"] == f"file:{self.source}/{name}" and condition(row):
                    return time.monotonic() - started
            if self.summary.done():
                self.summary.result()
            time.sleep(0.1)
        raise AssertionError(f"{name} is not in {location} after a minute")


@pytest.fixture(scope="module")
def running(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStream]:
    source, lake = tmp_path_factory.mktemp("arriving"), Lake.at(str(new_lake()))
    stop, results = threading.Event(), list[BatchResult]()
    settings = IngestSettings(trigger=0.5, settle=0.5, sweep_every=2)
    with ThreadPoolExecutor(1) as pool:
        summary = pool.submit(
            ingest, str(source), lake.root, settings, lambda result, _: results.append(result), stop
        )
        yield RunningStream(source, lake, stop, summary, results)
        stop.set()


def test_first_file_in_empty_folder_is_ingested(running: RunningStream) -> None:
    put(running.source / "Fig" / "first.jpg", jpeg(1))
    running.seconds_until("Fig/first.jpg", running.lake.features)


def test_running_stream_ingests_file_within_seconds(running: RunningStream) -> None:
    put(running.source / "Fig" / "second.jpg", jpeg(2))
    # 2 to 3 s on an idle machine.
    assert running.seconds_until("Fig/second.jpg", running.lake.features) < 20


def test_running_stream_sweeps_for_skipped_files(running: RunningStream) -> None:
    put(running.source / "Fig" / "empty.jpg", b"")
    put(running.source / "Fig" / "first.jpg", GARBAGE, written=time.time() - 30)
    put(running.source / "Fig" / "second.jpg", jpeg(3), written=time.time() - 30)
    running.seconds_until("Fig/empty.jpg", running.lake.quarantine)
    running.seconds_until("Fig/first.jpg", running.lake.quarantine)
    running.seconds_until(
        "Fig/second.jpg", running.lake.features, lambda row: row["length"] == len(jpeg(3))
    )


def test_stop_ends_stream_promptly(running: RunningStream, spark: SparkSession) -> None:
    running.stop.set()
    summary = running.summary.result(timeout=30)
    assert spark.streams.active == []
    assert summary.outcomes == {"features": 3, "quarantine": 2}
    assert below(running.source, running.lake.features) == ["Fig/second.jpg"]
    assert below(running.source, running.lake.quarantine) == ["Fig/empty.jpg", "Fig/first.jpg"]
    assert sum(result.written for result in running.results) == 5
