"""Tests for `streaming.engines.onnxruntime`: telemetry, GPU availability, and no silent fallback to the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from streaming.engines import gpu
from streaming.engines.onnxruntime import (
    BATCH,
    OnnxRuntimeEngine,
    cuda_options,
    unavailable_reason,
)
from streaming.engines.registry import create_engine
from streaming.errors import ModelError
from support.lakes.real_model import exported


def fake_gpus(monkeypatch: pytest.MonkeyPatch, providers: list[str], gpus: int) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(gpu, "device_count", lambda: gpus)
    monkeypatch.setattr("platform.node", lambda: "worker-7")


CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_import_writes_no_telemetry_files(tmp_path: Path) -> None:
    program = "from streaming.engines.onnxruntime import unavailable_reason; print(bool(unavailable_reason('cuda')))"
    env = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    env.pop("ORT_DISABLE_TELEMETRY", None)
    env.pop("XDG_CACHE_HOME", None)
    subprocess.run([sys.executable, "-c", program], env=env, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_cpu_is_available() -> None:
    assert unavailable_reason("cpu") is None


@pytest.mark.parametrize(
    ("providers", "gpus", "reason"),
    [
        (
            CUDA[1:],
            1,
            "--device cuda: ONNX Runtime on worker-7 has no CUDA support; install onnxruntime-gpu",
        ),
        (CUDA, 0, "--device cuda: no GPU on worker-7: use --device cpu"),
    ],
)
def test_unavailable_gpu_is_explained_in_one_line(
    monkeypatch: pytest.MonkeyPatch, providers: list[str], gpus: int, reason: str
) -> None:
    fake_gpus(monkeypatch, providers, gpus)
    assert str(unavailable_reason("cuda")).startswith(reason)
    model_info: Any = type("FakeModelInfo", (), {"precision": "float32"})
    with pytest.raises(ModelError) as caught:
        create_engine("onnxruntime", model_info, b"", gpu=0)
    assert str(caught.value) == unavailable_reason("cuda")


def test_gpu_with_cuda_package_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpus(monkeypatch, CUDA, 1)
    assert unavailable_reason("cuda") is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_session_that_fell_back_to_cpu_is_rejected_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if not unavailable_reason("cuda"):
        pytest.skip("this machine has a GPU: nothing falls back")
    model_info, files = exported("random")
    fake_gpus(monkeypatch, CUDA, 1)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas"))
    capfd.readouterr()
    with pytest.raises(ModelError) as caught:
        OnnxRuntimeEngine(model_info, files["model.onnx"], 1, gpu=0)
    line = str(caught.value)
    assert line.startswith("--device cuda: ONNX Runtime finds no compatible CUDA or cuDNN on ")
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in line
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")


def test_cuda_options_disable_tf32() -> None:
    assert cuda_options(3)["use_tf32"] == "0"
    assert cuda_options(3)["device_id"] == "3"


def test_cpu_batch_size() -> None:
    assert BATCH == 4
