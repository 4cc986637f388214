"""Tests for `streaming.engines.onnxruntime`: a GPU or a refusal, never the processor in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from streaming.engines import gpu
from streaming.engines import onnxruntime as engine_onnxruntime
from streaming.engines.onnxruntime import OnnxRuntimeEngine, cuda_options, unavailable_reason
from streaming.engines.registry import create_engine
from streaming.errors import ModelError
from support.real_model import exported


def pretend(monkeypatch: pytest.MonkeyPatch, providers: list[str], gpus: int) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(gpu, "device_count", lambda: gpus)
    monkeypatch.setattr("platform.node", lambda: "worker-7")


CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_it_notes_down_nothing_for_its_maker(tmp_path: Path) -> None:
    program = "from streaming.engines.onnxruntime import unavailable_reason; print(bool(unavailable_reason('cuda')))"
    env = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    env.pop("ORT_DISABLE_TELEMETRY", None)
    env.pop("XDG_CACHE_HOME", None)
    subprocess.run([sys.executable, "-c", program], env=env, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_the_processor_is_no_obstacle() -> None:
    assert unavailable_reason("cpu") is None


@pytest.mark.parametrize(
    ("providers", "gpus", "told"),
    [
        (
            CUDA[1:],
            1,
            "device cuda: the ONNX Runtime on worker-7 is one without CUDA; install onnx",
        ),
        (CUDA, 0, "device cuda: no GPU on worker-7; use --device cpu"),
    ],
)
def test_what_is_missing_for_a_gpu_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, providers: list[str], gpus: int, told: str
) -> None:
    pretend(monkeypatch, providers, gpus)
    assert str(unavailable_reason("cuda")).startswith(told)
    extractor: Any = type("Extractor", (), {"precision": "float32"})
    with pytest.raises(ModelError) as caught:
        create_engine("onnxruntime", extractor, b"", gpu=0)
    assert str(caught.value) == unavailable_reason("cuda")


def test_a_gpu_with_its_package_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, CUDA, 1)
    assert unavailable_reason("cuda") is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_session_that_fell_back_to_the_processor_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if not unavailable_reason("cuda"):
        pytest.skip("this machine has a GPU: nothing falls back")
    extractor, files = exported("random")
    pretend(monkeypatch, CUDA, 1)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas"))
    capfd.readouterr()
    with pytest.raises(ModelError) as caught:
        OnnxRuntimeEngine(extractor, files["model.onnx"], 1, gpu=0)
    line = str(caught.value)
    assert line.startswith("device cuda: ONNX Runtime finds no CUDA or cuDNN that fits it on ")
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in line
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")


def test_a_gpu_computes_in_full_float32() -> None:
    assert cuda_options(3)["use_tf32"] == "0"
    assert cuda_options(3)["device_id"] == "3"


def test_the_processor_takes_as_many_images_as_its_caches_hold() -> None:
    assert engine_onnxruntime.BATCH == 4
