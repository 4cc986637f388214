"""Tests for `streaming.engines.gpu`: GPU count, free memory, batch size, and assignment to tasks."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from streaming.engines import gpu


@dataclass
class Driver:
    """Fake of NVIDIA's driver library; the function named by `failing` returns an error code."""

    gpus: int = 2
    free: int = 3 * 2**30
    failing: str = ""

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == self.failing:
                return 100  # CUDA_ERROR_NO_DEVICE
            if name == "cuDeviceGetCount":
                arguments[0]._obj.value = self.gpus
            if name == "cuMemGetInfo_v2":
                arguments[0]._obj.value = self.free
            return 0

        return call


def install(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    def load(name: str) -> Any:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)


def test_device_count_and_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver())
    assert (gpu.device_count(), gpu.free_memory(1)) == (2, 3 * 2**30)


@pytest.mark.parametrize("function", ["", "cuInit", "cuDeviceGetCount"])
def test_device_count_without_usable_driver_is_zero(
    monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    install(monkeypatch, Driver(failing=function) if function else None)
    assert gpu.device_count() == 0


@pytest.mark.parametrize(
    "function",
    ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuMemGetInfo_v2"],
)
def test_free_memory_if_driver_call_fails_is_none(
    monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    install(monkeypatch, Driver(failing=function))
    assert gpu.free_memory(0) is None


@pytest.mark.parametrize(
    ("gigabytes", "images"), [(None, 16), (0, 1), (0.06, 1), (1, 21), (4, 85), (80, 256)]
)
def test_batch_size_uses_half_of_free_memory_up_to_limit(
    gigabytes: float | None, images: int
) -> None:
    free = None if gigabytes is None else int(gigabytes * 2**30)
    assert gpu.batch_size(free) == images


@pytest.mark.parametrize(
    ("partition", "addresses", "expected"),
    [(0, ["3"], 3), (5, ["0"], 0), (0, None, 0), (5, None, 1)],
)
def test_assigned_device_is_spark_resource_or_round_robin(
    monkeypatch: pytest.MonkeyPatch, partition: int, addresses: list[str] | None, expected: int
) -> None:
    import pyspark

    resources = {"gpu": SimpleNamespace(addresses=addresses)} if addresses else {}
    task = SimpleNamespace(resources=lambda: resources, partitionId=lambda: partition)
    monkeypatch.setattr(pyspark, "TaskContext", SimpleNamespace(get=lambda: task))
    monkeypatch.setattr(gpu, "device_count", lambda: 2)
    assert gpu.assigned_device() == expected


def test_assigned_device_outside_task_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyspark

    monkeypatch.setattr(pyspark, "TaskContext", SimpleNamespace(get=lambda: None))
    assert gpu.assigned_device() == 0
