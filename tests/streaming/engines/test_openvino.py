"""Tests for `streaming.engines.openvino`: availability, enforced precision, settings, no telemetry."""

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
from streaming.engines.openvino import (
    OpenVinoEngine,
    has_bfloat16,
    has_int8,
    settings,
    unavailable_reason,
)
from streaming.engines.registry import create_engine
from streaming.errors import ModelError
from support.lakes.real_model import exported

needs_openvino = pytest.mark.skipif(
    bool(unavailable_reason("float32")), reason=str(unavailable_reason("float32"))
)


def skip_if_bfloat16_is_supported() -> None:
    if has_bfloat16():
        pytest.skip("this CPU supports bfloat16")


def test_missing_package_is_reported_with_host_and_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("platform.node", lambda: "worker-7")
    line = "engine openvino: the package is not installed on worker-7; pip install 'pomona[openvino]' there"
    assert unavailable_reason("bfloat16") == line
    assert unavailable_reason("float32") == f"{line}, or use --engine onnxruntime"
    model_info: Any = type("FakeModelInfo", (), {"precision": "bfloat16"})
    with pytest.raises(ModelError) as caught:
        create_engine("openvino", model_info, b"")
    assert str(caught.value) == line


def test_unsupported_precision_is_reported_with_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: False)
    assert unavailable_reason("float32") is None
    line = str(unavailable_reason("bfloat16"))
    assert line.startswith("precision bfloat16: not supported by the CPU of ")
    assert "AVX512_BF16 or AMX" in line
    assert line.endswith("or start a new lake with --precision float32")
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: True)
    assert unavailable_reason("bfloat16") is None


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", True),  # Cascade Lake, Zen 4
        ("processor\t: 0\nflags\t\t: avx2 avx_vnni\n\nprocessor\t: 1\n", True),  # Alder Lake
        ("flags\t\t: avx512f amx_tile amx_int8", True),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", False),  # Skylake; bfloat16 does not help
        ("flags\t\t: fpu avx2 not_avx512_vnni", False),
        ("bugs\t\t: avx512_vnni\n", False),
        ("Features\t: fp asimd asimddp i8mm\n", False),  # ARM: not measured
        ("", False),
    ],
)
def test_int8_needs_its_instructions(tmp_path: Path, cpuinfo: str, expected: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert has_int8(file) is expected


def test_int8_is_unavailable_where_the_cpu_is_unknown(tmp_path: Path) -> None:
    assert not has_int8(tmp_path / "missing")  # macOS and Windows


def test_int8_on_an_older_cpu_is_reported_with_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("platform.node", lambda: "worker-7")
    monkeypatch.setattr(openvino, "has_int8", lambda: False)
    line = str(unavailable_reason("int8"))
    assert line.startswith("precision int8: worker-7 does not run Linux on a CPU with")
    assert "AVX512_VNNI, AVX_VNNI or AMX" in line
    assert line.endswith("or start a new lake with --precision float32")
    assert unavailable_reason("float32") is None
    model_info: Any = type("FakeModelInfo", (), {"precision": "int8"})
    with pytest.raises(ModelError, match="worker-7"):
        create_engine("openvino", model_info, b"")
    monkeypatch.setattr(openvino, "has_int8", lambda: True)
    assert unavailable_reason("int8") is None


def test_settings_disable_cpu_pinning() -> None:
    assert settings("bfloat16", 1) == {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    # Otherwise the parts in float32 would be computed in bfloat16 on some processors.
    assert settings("int8", 1)["INFERENCE_PRECISION_HINT"] == "f32"


@pytest.mark.slow
@needs_openvino
def test_float32_is_requested_explicitly(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    configs: list[dict[str, Any]] = []
    compile_model = openvino.Core.compile_model

    def recording(self: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        configs.append(config)
        return compile_model(self, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", recording)
    model_info, files = exported("random")
    create_engine("openvino", model_info, files["model.onnx"])
    assert [config["INFERENCE_PRECISION_HINT"] for config in configs] == ["f32"]


@pytest.mark.slow
@needs_openvino
def test_bfloat16_on_a_cpu_without_it_is_rejected() -> None:
    skip_if_bfloat16_is_supported()
    model_info, files = exported("random")
    with pytest.raises(ModelError, match="not supported by the CPU"):
        create_engine("openvino", replace(model_info, precision="bfloat16"), files["model.onnx"])


@pytest.mark.slow
@needs_openvino
def test_fallback_to_another_precision_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each CPU without bfloat16 makes OpenVINO fall back: with AVX-512 it may emulate bfloat16."""
    import openvino as package

    compile_model = package.Core.compile_model

    def falling_back(self: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        return compile_model(self, model, device, config | {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(package.Core, "compile_model", falling_back)
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: True)
    model_info, files = exported("random")
    with pytest.raises(ModelError, match="OpenVINO would compute in f32"):
        create_engine("openvino", replace(model_info, precision="bfloat16"), files["model.onnx"])


@pytest.mark.slow
@needs_openvino
def test_later_call_does_not_change_earlier_features() -> None:
    model_info, files = exported("random")
    engine = OpenVinoEngine(model_info, files["model.onnx"], 1)
    images = np.random.default_rng(1).random((2, 224, 224, 3), np.float32)
    first = engine.run(images)
    expected = first.copy()
    engine.run(1 - images)
    np.testing.assert_array_equal(first, expected)


@needs_openvino
def test_import_disables_telemetry(tmp_path: Path) -> None:
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
    assert list(tmp_path.iterdir()) == []  # telemetry would store an id of the user here
