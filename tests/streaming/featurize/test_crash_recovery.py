"""Tests for crash recovery in `streaming.featurize.microbatch`.

The death of a worker loses no image and quarantines only the image that caused it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import ComputedPart
from streaming.featurize.worker import Featurizer
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.model.store import find_model, read_model
from streaming.storage.interface import StoredFile
from support.images.image_files import scan_bomb
from support.lakes.microbatch import process
from support.lakes.small_lakes import GARBAGE, ONCE, below, jpeg, photos, put_all, rows
from support.processes.worker_processes import worker_peak_memory

pytestmark = pytest.mark.spark


@pytest.mark.long
def test_image_exceeding_cpu_limit_is_quarantined(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    hanging = {"Fig/hang.jpg": scan_bomb(1600, 2000)}  # 4 s of CPU time
    put_all(source, {**photos("Fig", range(8)), "Fig/bad.jpg": GARBAGE, **hanging})
    settings = IngestSettings(once=True, settle=0, max_cpu_seconds=0.5)
    summary = ingest(str(source), lake.root, settings)
    assert summary.outcomes == {"features": 8, "quarantine": 2}
    assert summary.reasons["crashed_worker"] == 1
    assert below(source, lake.features) == sorted(photos("Fig", range(8)))
    row = rows(lake.quarantine)[1]
    assert row["path"].endswith("/hang.jpg")
    assert (row["reason"], row["attempts"]) == ("crashed_worker", 1)
    assert "--max-cpu-seconds" in row["detail"]
    assert ingest(str(source), lake.root, ONCE).outcomes == {}


def micro_batch(spark: SparkSession, lake: Lake) -> MicroBatch:
    model_info = find_model(lake.models)
    assert model_info
    model = spark.sparkContext.broadcast(read_model(lake.models, model_info, "onnxruntime"))
    featurizer = Featurizer(model_info, "onnxruntime", model, model_info.decode_settings())
    return MicroBatch(spark, lake, featurizer, ImageIndex.load(lake), {})


def test_killed_worker_loses_no_image(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    lake = Lake.at(str(new_lake()))
    batch = micro_batch(spark, lake)
    files = put_all(tmp_path, {**photos("Fig", range(8)), "Fig/bad.jpg": GARBAGE})
    # Reads of this file fail as on a broken disk and are retried: the worker is then processing the images.
    late = tmp_path / "Fig" / "late.jpg"
    late.symlink_to("/proc/self/mem")
    files.append(StoredFile(f"file:{late}", len(jpeg(9)), files[0].modified_ms))
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(process, batch, files)
        while not (killed := set(worker_peak_memory())):
            assert not result.done(), result.result()
            time.sleep(0.1)
        time.sleep(2)  # they read the images
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        while any(Path(f"/proc/{worker}").exists() for worker in killed):
            time.sleep(0.01)  # a dying worker could still read what is written next
        late.unlink()
        late.write_bytes(jpeg(9))
        written = result.result(timeout=120)
    assert written.outcomes == {"features": 9, "quarantine": 1}
    assert below(tmp_path, lake.quarantine) == ["Fig/bad.jpg"]
    assert below(tmp_path, lake.features) == sorted([*photos("Fig", range(8)), "Fig/late.jpg"])


def test_worker_that_was_killed_while_idle_is_retried(
    spark: SparkSession,
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Spark 3.5 sends the task to it; later versions start another worker, so its error is raised here."""
    lake = Lake.at(str(new_lake()))
    batch = micro_batch(spark, lake)
    error = (
        "An error occurred while calling o51662.collectToPython.\n: org.apache.spark.SparkException: Job aborted due "
        "to stage failure: Lost task 1.0 in stage 3856.0 (TID 6163): java.net.SocketException: Broken pipe\n"
        "\tat java.base/sun.nio.ch.NioSocketImpl.implWrite(NioSocketImpl.java:425)\n"
        "\tat org.apache.spark.api.python.BasePythonRunner$WriterThread.run(PythonRunner.scala:282)\n"
    )
    errors = [error, error]
    collect = ComputedPart.collect

    def fail_twice(computed: ComputedPart, frame: DataFrame) -> None:
        if errors:
            raise PySparkException(errors.pop())
        collect(computed, frame)

    monkeypatch.setattr(ComputedPart, "collect", fail_twice)
    written = process(batch, put_all(tmp_path, photos("Fig", range(3))))
    assert (written.outcomes, errors) == ({"features": 3}, [])


def test_engine_that_kills_starting_workers_quarantines_no_image(
    spark: SparkSession,
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise each image would seem to have killed its process."""
    lake = Lake.at(str(new_lake()))
    started: Future[None] = Future()
    started.set_exception(PySparkException("Python worker exited unexpectedly (crashed): start"))
    batch = replace(micro_batch(spark, lake), workers_started=started)

    def die(_computed: ComputedPart, _frame: DataFrame) -> None:
        raise PySparkException("Python worker exited unexpectedly (crashed)")

    monkeypatch.setattr(ComputedPart, "collect", die)
    with pytest.raises(PySparkException, match="start"):
        process(batch, put_all(tmp_path, photos("Fig", range(3))))
    assert rows(lake.quarantine) == []
