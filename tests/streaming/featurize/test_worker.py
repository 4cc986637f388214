"""Tests for `streaming.featurize.worker`: one engine per core or GPU, and images distributed over Spark tasks."""

from __future__ import annotations

import pickle
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark import cloudpickle
from pyspark.sql import Row, SparkSession

from streaming.engines import gpu
from streaming.errors import PlatformError
from streaming.featurize import worker
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import count_missing_extras, count_warnings
from streaming.featurize.worker import (
    Featurizer,
    Task,
    featurize_partitions,
    max_concurrent_tasks,
)
from streaming.images.decode import DecodeSettings
from streaming.storage.interface import StoredFile
from support.images.image_files import damaged_tiff
from support.lakes.small_lakes import photos, put_all

GPU_SETTINGS = {"spark.task.resource.gpu.amount": "1"}


@dataclass
class CountingEngine:
    """Accepts batches of three images and records their sizes."""

    name: str = "counting"
    batch: int = 3
    batch_sizes: list[int] = field(default_factory=list)

    def run(self, images: Any) -> Any:
        self.batch_sizes.append(len(images))
        return np.zeros((len(images), 2), np.float32)


def featurizer(device: str = "cpu") -> Featurizer:
    model_info: Any = SimpleNamespace(model_id="seeded")
    model: Any = SimpleNamespace(value=b"")
    return Featurizer(model_info, "counting", model, DecodeSettings(), device=device)


def spark(master: str, cores: int = 8, **settings: str) -> Any:
    context = SimpleNamespace(master=master, defaultParallelism=cores, getConf=lambda: settings)
    return SimpleNamespace(sparkContext=context)


def test_engine_receives_its_batch_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, gpus = CountingEngine(), []

    def create(*_: Any, gpu: int | None) -> CountingEngine:
        gpus.append(gpu)
        return engine

    monkeypatch.setattr(worker, "_engines", {})
    monkeypatch.setattr(worker, "create_engine", create)
    files = put_all(tmp_path, photos("Fig", range(7)))
    batches = list(featurizer()([(file, 1) for file in files]))
    assert (engine.batch_sizes, gpus) == ([3, 3, 1], [None])
    assert [batch.num_rows for batch in batches] == [3, 3, 1]


def test_warnings_and_missing_packages_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "create_engine", lambda *_args, **_options: CountingEngine())
    monkeypatch.setattr(worker, "_engines", {})
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # the import fails
    heic = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(40)
    names = {f"scan{number}.tif": damaged_tiff("group4") for number in range(3)}
    names |= {"phone1.heic": heic, "phone2.heic": heic} | photos("Fig", range(2))
    files = put_all(tmp_path, names)
    batches = featurizer()([(file, 1) for file in files])
    rows = [Row(**row) for batch in batches for row in batch.to_pylist()]

    assert Counter(row.outcome for row in rows) == {"features": 5, "quarantine": 2}
    assert count_missing_extras(rows) == {"heif": 2}
    counts = count_warnings(rows)
    assert counts.images == 3
    message, images = counts.messages.most_common(1)[0]
    assert (message[:12], images) == ("Fax4Decode: ", 3)
    assert counts.examples[message].endswith("/scan0.tif")
    assert capfd.readouterr().err == ""


def test_engine_is_created_once_per_assigned_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = []
    monkeypatch.setattr(worker, "_engines", {})
    monkeypatch.setattr(worker, "create_engine", lambda *args, gpu: gpus.append(gpu) or args)
    for assigned in (1, 0, 1):
        monkeypatch.setattr(gpu, "assigned_device", lambda number=assigned: number)
        list(featurizer("cuda").load([]))
    assert gpus == [1, 0]


@pytest.mark.parametrize(
    ("device", "master", "gpus", "tasks"),
    [
        ("cpu", "local[8]", 1, 8),
        ("cuda", "local[8]", 1, 1),
        ("cuda", "local[*]", 2, 2),
        ("cuda", "local[8]", 0, 1),
        ("cuda", "local[8]", 16, 8),
        ("cuda", "yarn", 0, 8),  # Spark counts the GPUs of a cluster
    ],
)
def test_one_task_per_core_or_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, master: str, gpus: int, tasks: int
) -> None:
    monkeypatch.setattr(gpu, "device_count", lambda: gpus)
    assert max_concurrent_tasks(spark(master, **GPU_SETTINGS), featurizer(device)) == tasks


def test_cluster_without_gpu_setting_is_rejected_with_remedy() -> None:
    with pytest.raises(PlatformError, match=r"submit with spark\.executor\.resource\.gpu\.amount"):
        max_concurrent_tasks(spark("yarn"), featurizer("cuda"))
    assert max_concurrent_tasks(spark("yarn"), featurizer()) == 8


@pytest.mark.parametrize(
    ("device", "images", "partitions"),
    [
        ("cpu", 10_000, 40),
        ("cpu", 2_001, 16),
        ("cpu", 100, 8),
        ("cpu", 3, 3),
        ("cuda", 10_000, 2),
        ("cuda", 1, 1),
    ],
)
def test_partition_count_by_device_and_images(
    monkeypatch: pytest.MonkeyPatch, device: str, images: int, partitions: int
) -> None:
    monkeypatch.setattr(gpu, "device_count", lambda: 2)
    unused: Any = None
    batch = MicroBatch(spark("local[8]"), unused, featurizer(device), unused, {})
    assert batch._partition_count(images) == partitions


def test_each_image_is_in_one_round_robin_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "raise_oom_score", lambda: None)
    ranges: list[tuple[int, ...]] = []
    partitions: list[Sequence[Task]] = []

    def featurize(tasks: Sequence[Task]) -> Any:
        partitions.append(tasks)
        return iter(())

    def map_in_arrow(run: Any, ddl: str) -> Any:
        batches = (pa.RecordBatch.from_pydict({"id": [number]}) for number in range(3))
        return list(run(batches))

    def spark_range(*args: int) -> Any:
        ranges.append(args)
        return SimpleNamespace(mapInArrow=map_in_arrow)

    session: Any = SimpleNamespace(range=spark_range)
    tasks = [(StoredFile(f"file:/x/{number}.jpg", 1, 0), 1) for number in range(10)]
    featurize_partitions(session, featurize, tasks, 3)
    assert ranges == [(0, 3, 1, 3)]
    assert [len(partition) for partition in partitions] == [4, 3, 3]
    assert {task for partition in partitions for task in partition} == set(tasks)
    assert list(partitions[1]) == tasks[1::3]


def test_task_unpickles_only_its_own_images(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [(StoredFile(f"file:/x/{number}.jpg", 1, 0), 1) for number in range(10)]
    ids = pa.RecordBatch.from_pydict({"id": [1]})
    pickled = bytearray()
    frame = SimpleNamespace(mapInArrow=lambda run, ddl: pickled.extend(cloudpickle.dumps(run)))
    session: Any = SimpleNamespace(range=lambda *args: frame)
    monkeypatch.setattr(worker, "raise_oom_score", lambda: None)
    featurize_partitions(session, iter, tasks, 3)

    unpickled, set_state = [], vars(StoredFile)["__setstate__"]

    def count(file: StoredFile, state: Any) -> None:
        set_state(file, state)
        unpickled.append(file)

    monkeypatch.setattr(StoredFile, "__setstate__", count)
    run = pickle.loads(pickled)
    assert list(run([ids])) == tasks[1::3]
    assert unpickled == [file for file, _ in tasks[1::3]]


@pytest.mark.spark
def test_file_names_of_a_large_part_leave_no_file_behind(spark: SparkSession) -> None:
    folder = Path(spark.sparkContext._temp_dir)  # type: ignore[attr-defined]
    before = set(folder.rglob("*"))
    tasks = [(StoredFile(f"file:/{number:0100000}.jpg", 1, 0), 1) for number in range(20)]
    assert not featurize_partitions(spark, lambda _tasks: iter(()), tasks, 2).collect()
    assert set(folder.rglob("*")) == before
