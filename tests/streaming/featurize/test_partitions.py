"""Tests for `streaming.featurize.partitions`: even partitions, as many tasks as cores or GPUs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streaming.engines import gpu
from streaming.errors import PlatformError
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.partitions import Partitions, max_concurrent_tasks
from streaming.featurize.worker import Featurizer
from streaming.images.decode import DecodeSettings
from streaming.storage.interface import StoredFile

CLUSTER = {"spark.task.resource.gpu.amount": "1"}


def featurizer(device: str = "cpu") -> Featurizer:
    model_info: Any = SimpleNamespace(model_id="made-up")
    nothing: Any = SimpleNamespace(value=b"")
    return Featurizer(model_info, "counting", nothing, DecodeSettings(), device=device)


def spark(master: str, cores: int = 8, **settings: str) -> Any:
    context = SimpleNamespace(master=master, defaultParallelism=cores, getConf=lambda: settings)
    return SimpleNamespace(sparkContext=context)


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
    assert max_concurrent_tasks(spark(master, **CLUSTER), featurizer(device)) == tasks


def test_cluster_without_gpu_setting_is_rejected_with_remedy() -> None:
    with pytest.raises(PlatformError, match=r"submit with spark\.executor\.resource\.gpu\.amount"):
        max_concurrent_tasks(spark("yarn"), featurizer("cuda"))
    assert max_concurrent_tasks(spark("yarn"), featurizer()) == 8


@pytest.mark.parametrize(
    ("device", "count", "shares"),
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
    monkeypatch: pytest.MonkeyPatch, device: str, count: int, shares: int
) -> None:
    monkeypatch.setattr(gpu, "device_count", lambda: 2)
    unused: Any = None
    batch = MicroBatch(spark("local[8]"), unused, featurizer(device), unused, {})
    assert batch._partition_count(count) == shares


def test_round_robin_puts_each_image_in_one_partition() -> None:
    tasks = [(StoredFile(f"file:/x/{number}.jpg", 1, 0), 1) for number in range(10)]
    dealt = Partitions.round_robin(featurizer(), tasks, 3).partitions
    assert [len(share) for share in dealt] == [4, 3, 3]
    assert {task for share in dealt for task in share} == set(tasks)
    assert list(dealt[1]) == tasks[1::3]
