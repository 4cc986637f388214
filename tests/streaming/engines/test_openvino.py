"""Tests for `streaming.engines.openvino`: the lake's precision and no other, and nobody is told of it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streaming.engines import openvino
from streaming.engines.openvino import OpenVinoEngine, has_bfloat16, settings, unavailable_reason
from streaming.engines.registry import create_engine
from streaming.errors import ModelError
from support.real_model import exported

needs_openvino = pytest.mark.skipif(
    bool(unavailable_reason("float32")), reason=str(unavailable_reason("float32"))
)


def without_bfloat16() -> None:
    if has_bfloat16():
        pytest.skip("this processor has bfloat16: nothing to refuse")


def test_a_worker_without_the_package_names_itself_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("platform.node", lambda: "worker-7")
    line = "engine openvino: the package is not installed on worker-7; pip install 'pomona[openvino]' there"
    assert unavailable_reason("bfloat16") == line
    assert unavailable_reason("float32") == f"{line}, or use --engine onnxruntime"
    extractor: Any = type("Extractor", (), {"precision": "bfloat16"})
    with pytest.raises(ModelError) as caught:
        create_engine("openvino", extractor, b"")
    assert str(caught.value) == line


def test_a_processor_without_the_precision_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: False)
    assert unavailable_reason("float32") is None
    line = str(unavailable_reason("bfloat16"))
    assert line.startswith("precision bfloat16: the processor of ")
    assert "AVX512_BF16 or AMX" in line
    assert line.endswith("or start a new lake with --precision float32")
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: True)
    assert unavailable_reason("bfloat16") is None


def test_workers_side_by_side_do_not_pin_themselves_to_the_same_core() -> None:
    assert settings("bfloat16", 1) == {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }


@pytest.mark.slow
@needs_openvino
def test_a_float32_lake_says_so_wherever_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    asked: list[dict[str, Any]] = []
    compiled = openvino.Core.compile_model

    def watched(self: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        asked.append(config)
        return compiled(self, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    extractor, files = exported("random")
    create_engine("openvino", extractor, files["model.onnx"])
    assert [config["INFERENCE_PRECISION_HINT"] for config in asked] == ["f32"]


@pytest.mark.slow
@needs_openvino
def test_openvino_that_would_compute_in_another_precision_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_bfloat16()
    extractor, files = exported("random")
    half = replace(extractor, precision="bfloat16")
    with pytest.raises(ModelError, match="does not have it"):
        create_engine("openvino", half, files["model.onnx"])
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: True)
    with pytest.raises(ModelError, match="OpenVINO would compute in f32"):
        create_engine("openvino", half, files["model.onnx"])


@pytest.mark.slow
@needs_openvino
def test_features_of_an_earlier_call_stay_as_they_were() -> None:
    extractor, files = exported("random")
    running = OpenVinoEngine(extractor, files["model.onnx"], 1)
    images = np.random.default_rng(1).random((2, 224, 224, 3), np.float32)
    first = running.run(images)
    kept = first.copy()
    running.run(1 - images)
    np.testing.assert_array_equal(first, kept)


@needs_openvino
def test_importing_it_reports_to_no_one(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom streaming.engines.openvino import has_bfloat16\nhas_bfloat16()\n"
        "print('openvino' in sys.modules, sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True None\n", "")
    assert list(tmp_path.iterdir()) == []  # its reporter would leave an id of the user here
