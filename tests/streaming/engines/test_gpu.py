"""Tests for `streaming.engines.gpu`: how many there are, how much fits, and which one a task gets."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from streaming.engines import gpu


@dataclass
class Driver:
    """NVIDIA's driver with some GPUs, or with a fault at one of its calls."""

    gpus: int = 2
    free: int = 3 * 2**30
    fault: str = ""

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == self.fault:
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


def test_gpus_are_counted_and_their_memory_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver())
    assert (gpu.device_count(), gpu.free_memory(1)) == (2, 3 * 2**30)


@pytest.mark.parametrize("fault", ["", "cuInit", "cuDeviceGetCount"])
def test_a_machine_without_one_has_none(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    install(monkeypatch, Driver(fault=fault) if fault else None)
    assert gpu.device_count() == 0


@pytest.mark.parametrize(
    "fault",
    ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuMemGetInfo_v2"],
)
def test_memory_that_is_not_told_is_unknown(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    install(monkeypatch, Driver(fault=fault))
    assert gpu.free_memory(0) is None


@pytest.mark.parametrize(
    ("gigabytes", "images"), [(None, 16), (0, 1), (0.06, 1), (1, 21), (4, 85), (80, 256)]
)
def test_a_call_takes_half_of_the_free_memory_up_to_a_bound(
    gigabytes: float | None, images: int
) -> None:
    free = None if gigabytes is None else int(gigabytes * 2**30)
    assert gpu.batch_size(free) == images


@pytest.mark.parametrize(
    ("partition", "given", "expected"), [(0, ["3"], 3), (5, ["0"], 0), (0, None, 0), (5, None, 1)]
)
def test_a_task_takes_the_gpu_that_spark_gave_it_or_one_in_turn(
    monkeypatch: pytest.MonkeyPatch, partition: int, given: list[str] | None, expected: int
) -> None:
    import pyspark

    resources = {"gpu": SimpleNamespace(addresses=given)} if given else {}
    task = SimpleNamespace(resources=lambda: resources, partitionId=lambda: partition)
    monkeypatch.setattr(pyspark, "TaskContext", SimpleNamespace(get=lambda: task))
    monkeypatch.setattr(gpu, "device_count", lambda: 2)
    assert gpu.assigned_device() == expected


def test_outside_of_a_task_it_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyspark

    monkeypatch.setattr(pyspark, "TaskContext", SimpleNamespace(get=lambda: None))
    assert gpu.assigned_device() == 0
