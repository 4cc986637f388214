"""Promises of `streaming.featurize`: an engine a core, or a GPU, and as many images a call as it likes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_lakes import photos, put_all

from streaming import featurize, gpu
from streaming.decode import DecodeSettings
from streaming.errors import PlatformError
from streaming.featurize import Featurizer, tasks_at_once
from streaming.microbatch import MicroBatch

CLUSTER = {"spark.task.resource.gpu.amount": "1"}


@dataclass
class CountingEngine:
    """Takes three images at once, and remembers how many it was given."""

    name: str = "counting"
    batch: int = 3
    given: list[int] = field(default_factory=list)

    def run(self, images: Any) -> Any:
        self.given.append(len(images))
        return np.zeros((len(images), 2), np.float32)


def featurizer(device: str = "cpu") -> Featurizer:
    extractor: Any = SimpleNamespace(model_id="made-up")
    return Featurizer(extractor, "counting", SimpleNamespace(value=b""), DecodeSettings(), device)


def spark(master: str, cores: int = 8, **settings: str) -> Any:
    context = SimpleNamespace(master=master, defaultParallelism=cores, getConf=lambda: settings)
    return SimpleNamespace(sparkContext=context)


def test_an_engine_is_given_as_many_images_as_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, made = CountingEngine(), []

    def create(*words: Any, gpu: int | None) -> CountingEngine:
        made.append(gpu)
        return engine

    monkeypatch.setattr(featurize, "_engines", {})
    monkeypatch.setattr(featurize, "create_engine", create)
    files = put_all(tmp_path, photos("Fig", range(7)))
    names = [[f.path for f in files], [f.length for f in files], [f.modified_ms for f in files]]
    batch = pa.RecordBatch.from_arrays([*map(pa.array, names), pa.array([1] * 7)], list("plma"))
    found = list(featurizer()([batch]))
    assert (engine.given, made) == ([3, 3, 1], [None])
    assert [row.num_rows for row in found] == [3, 3, 1]


def test_on_a_gpu_the_engine_is_made_for_the_one_that_the_task_got(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    monkeypatch.setattr(featurize, "_engines", {})
    monkeypatch.setattr(featurize, "create_engine", lambda *words, gpu: made.append(gpu) or words)
    for assigned in (1, 0, 1):
        monkeypatch.setattr(gpu, "assigned", lambda number=assigned: number)
        list(featurizer("cuda").load([]))
    assert made == [1, 0]


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
def test_one_process_a_core_or_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, master: str, gpus: int, tasks: int
) -> None:
    monkeypatch.setattr(gpu, "count", lambda: gpus)
    assert tasks_at_once(spark(master, **CLUSTER), featurizer(device)) == tasks


def test_a_cluster_that_gives_tasks_no_gpu_is_told_how() -> None:
    with pytest.raises(PlatformError, match=r"submit with spark\.executor\.resource\.gpu\.amount"):
        tasks_at_once(spark("yarn"), featurizer("cuda"))
    assert tasks_at_once(spark("yarn"), featurizer()) == 8


@pytest.mark.parametrize(
    ("device", "count", "shares"),
    [("cpu", 10_000, 32), ("cpu", 100, None), ("cuda", 10_000, 2), ("cuda", 100, 2)],
)
def test_shares_are_dealt_to_cores_or_gpus(
    monkeypatch: pytest.MonkeyPatch, device: str, count: int, shares: int | None
) -> None:
    monkeypatch.setattr(gpu, "count", lambda: 2)
    dealt: list[int] = []
    rows: Any = SimpleNamespace(repartition=dealt.append)
    unused: Any = None
    batch = MicroBatch(spark("local[8]"), unused, featurizer(device), unused, {})
    batch._shares(rows, count)
    assert dealt == ([shares] if shares else [])
